"""Time, measured: the device's queue is empty when the clock starts and when it stops."""

import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch

VERSION = 2  # of the rule for a median and its interval; at 1 the smallest and the largest were the interval


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
