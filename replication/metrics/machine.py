"""What this machine does in a second, and how much of it is in use.

The first is measured in a fraction of a second: products, memory traffic, calls of operations.

Together with what a run does (cost.py) it says how long that takes: multiply-adds at the rate of a matrix product,
everything else at the rate of SiLU on as many bytes, plus what it takes to call an operation at all. Networks on the CPU
come to within a third of it; what has been timed here already is a better guide, and corrects it (harness/expected.py).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch.nn import functional as F

from replication.cost import Work
from replication.metrics.timing import repeated
from replication.numerics import Precision, numerics

SIDES = {"cpu": 1024, "cuda": 8192}  # of the matrix product
BYTES = {"cpu": 2**24, "cuda": 2**28}  # that SiLU reads, and writes
CALLS = 300
REPEATS = 3  # of which the fastest counts: other work on the machine only ever slows one down
MEGABYTE = 1 << 20
MACHINE = ("cpu_percent", "memory_megabytes", "device_percent", "device_memory_megabytes")  # what is read of it


@dataclass(frozen=True)
class Throughput:
    """In a second, of one device in one precision."""

    multiply_adds: float
    bytes: float
    calls: float

    def seconds(self, work: Work) -> float:
        """How long it takes."""
        return work.multiply_adds / self.multiply_adds + work.bytes / self.bytes + work.calls / self.calls


@cache
def throughput(device: torch.device, precision: Precision) -> Throughput:
    """That of this machine, with the threads that PyTorch has now."""
    side, size = SIDES[device.type], BYTES[device.type]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, x, one = (
        torch.ones(side, side, device=device, dtype=dtype),
        torch.ones(size // 4, device=device),
        torch.ones(1, device=device),
    )
    with torch.no_grad(), numerics(precision, device):
        product = _fastest(lambda: a @ a, device)
        traffic = _fastest(lambda: F.silu(x), device)
        called = _fastest(lambda: [one + one for _ in range(CALLS)], device)
    return Throughput(side**3 / product, 2 * size / traffic, CALLS / called)


def _fastest(work: Callable[[], object], device: torch.device) -> float:
    """Seconds; on the CPU those that this thread has had of a processor, so that other work on the machine counts little."""
    if device.type == "cuda":
        return min(repeated(work, device, REPEATS))
    seconds = []
    for _ in range(REPEATS + 1):
        started = time.thread_time()
        work()
        seconds.append(time.thread_time() - started)
    return min(seconds)


class Machine:
    """How much of all processors and all memory of the machine is in use, by whomever, and of those of the device.

    By what Linux and the device say; a training reads it at watched steps, into its curve.
    """

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
