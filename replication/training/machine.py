"""How much of the machine a training takes, by what Linux and the device say: read at watched steps, into the curve."""

import math
from collections.abc import Callable
from pathlib import Path

import torch

MEGABYTE = 1 << 20
MACHINE = ("cpu_percent", "memory_megabytes", "device_percent", "device_memory_megabytes")


class Machine:
    """All processors and all memory of the machine, whoever uses them, and those of the device."""

    def __init__(self, device: torch.device):
        self._device = device
        self._before = _processors()

    def read(self) -> list[float]:
        """By the names in MACHINE; the first since the last call. NaN where nobody says it: no CUDA, no NVML, no /proc."""
        now = _processors()
        busy, whole = (b - a for a, b in zip(self._before, now, strict=True))
        self._before = now
        of_device = [math.nan, math.nan]
        if self._device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self._device)
            of_device = [_or_nan(lambda: float(torch.cuda.utilization(self._device))), (total - free) / MEGABYTE]
        return [100 * busy / whole if whole > 0 else math.nan, _or_nan(_memory), *of_device]


def _processors() -> tuple[float, float]:
    """How long they have worked since the start of the machine, and how long there were: ticks of all of them together."""
    try:
        ticks = [float(one) for one in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return (math.nan, math.nan)
    return (sum(ticks) - ticks[3] - ticks[4], sum(ticks))  # without those idle, and those that waited for a disk


def _memory() -> float:
    """In use, as Linux counts: what programs could not have."""
    found = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, available = (float(found[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    return (total - available) * 1024 / MEGABYTE


def _or_nan(read: Callable[[], float]) -> float:
    try:
        return read()
    except (OSError, ValueError, KeyError, RuntimeError, ImportError):  # of NVML: not installed, or not allowed
        return math.nan
