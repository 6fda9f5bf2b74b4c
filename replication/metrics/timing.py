"""Time, measured: the device's queue is empty when the clock starts and when it stops."""

import math
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch

from replication.acceleration import Policy

VERSION = 2  # of the rule for a median and its interval; at 1 the smallest and the largest were the interval


def conditions(device: torch.device) -> dict[str, str]:
    """What of this process changes a time and no figure, by the column `env.*` that it has in a row."""
    return {"device": device_name(device), "threads": str(torch.get_num_threads())}


def device_name(device: torch.device) -> str:
    """The processor's own name, as the driver or the kernel gives it; with ", compiled" or ", replayed" where networks run so.

    Times of unequal names are not compared, and those of one row's chunks have one name.
    """
    return ", ".join(filter(None, [_processor(device), Policy.name(device)]))


@cache
def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


class Stopwatch:
    """`with Stopwatch(device) as watch: ...` then `watch.seconds`, the device's work included."""

    def __init__(self, device: torch.device):
        self.device, self.seconds = device, math.nan

    def __enter__(self) -> "Stopwatch":
        _wait(self.device)
        self._started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        _wait(self.device)
        self.seconds = time.perf_counter() - self._started


def repeated(work: Callable[[], object], device: torch.device, repeats: int, warmups: int = 1) -> list[float]:
    """Seconds of each of `repeats` calls, after `warmups` uncounted ones."""
    for _ in range(warmups):
        work()
    seconds = []
    for _ in range(repeats):
        with Stopwatch(device) as watch:
            work()
        seconds.append(watch.seconds)
    return seconds


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """(median, low, high): the k-th smallest and the k-th largest, with the largest k that leaves 95 % in between.

    They hold the true median with probability 1 - 2 P(Binomial(n, 1/2) < k), whatever the law: an order statistic, so that
    a chunk that something disturbed does not stretch it. Up to five values they are the smallest and the largest, 94 % at
    five.
    """
    n, k = len(values), 1
    while 2 * sum(math.comb(n, i) for i in range(k + 1)) <= 0.05 * 2**n:
        k += 1
    ordered = sorted(values)
    return statistics.median(values), ordered[k - 1], ordered[-k]


def reset_peak_memory(device: torch.device) -> None:
    """Start counting the device's peak anew; the CPU's is the process's and cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int:
    """Bytes: of tensors on a CUDA device since the reset, on the CPU of the whole process since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
