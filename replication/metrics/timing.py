"""Time, measured: the device's queue is empty when the clock starts and when it stops.

Beside other work a time says little: two threads that wait for each other lose more than their share. What else the machine
did meanwhile is therefore kept with a time, and one that was disturbed enters no verdict.
"""

import math
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from replication.acceleration import Policy

SLACK = 0.15  # of a processor, for each thread: as much other work as a quiet machine has
CONTEXT = 2 << 30  # bytes of a CUDA device that a process takes beside its tensors: kernels, workspaces
SWITCHES = 50.0  # not asked for, in a second of one thread: beside a busy process there are a hundred and more
STEAL = 0.05
TRIES = 3  # to take a time that other work disturbs
TICK = 0.02  # seconds of each processor by which the kernel's counters may be late
VERSION = 2  # of the rule for a median and its interval; at 1 the smallest and the largest were the interval


class Together:
    """The processes of a run that compute beside each other on this machine: their work is no other work.

    companions: how many there are besides this one. first: the number of the process that started the others.
    """

    companions = 0
    first = os.getpid()


def conditions(device: torch.device) -> dict[str, str]:
    """What of this process changes a time and no figure, by the column `env.*` that it has in a row."""
    found = {
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "deterministic cuDNN": torch.backends.cudnn.deterministic,
        "no cuDNN": not torch.backends.cudnn.enabled,
        "no oneDNN": not torch.backends.mkldnn.enabled,
        f"float32 products {torch.get_float32_matmul_precision()}": torch.get_float32_matmul_precision() != "highest",
    }
    flags = ", ".join(name for name, on in found.items() if on) or "none"
    threads, companions = str(torch.get_num_threads()), str(Together.companions or "none")
    return {"device": device_name(device), "threads": threads, "flags": flags, "companions": companions}


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


class OtherWork(NamedTuple):
    """What the machine did besides while something was timed: how many processors other processes kept busy, how often in a
    second a thread of ours was put aside for them, and which share of the processors' time the hypervisor gave to others.

    disturbs: whether the time says something of that too.
    """

    processors: float
    switches: float
    steal: float
    disturbs: bool

    def __str__(self) -> str:
        switches = f", {self.switches:.0f} switches/s" if self.switches else ""
        steal = f", {self.steal:.1%} of the time taken by the hypervisor" if self.steal else ""
        return f"{self.processors:.2f} processors of other work{switches}{steal}"


class Stopwatch:
    """`with Stopwatch(device) as watch: ...` then `watch.seconds`, the device's work included, and `watch.other_work`."""

    def __init__(self, device: torch.device):
        self.device, self.seconds = device, math.nan
        self.other_work: OtherWork | None = None

    def __enter__(self) -> "Stopwatch":
        _wait(self.device)
        self._counters, self._started = _counters(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        _wait(self.device)
        self.seconds = time.perf_counter() - self._started
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1  # of the processor's that are kept busy
        found = _between(self._counters, _counters(), self.seconds, threads)
        self.other_work = found and found._replace(disturbs=found.disturbs or _shared(self.device))


def _shared(device: torch.device) -> bool:
    """Whether other processes hold more of a CUDA device's memory than this one's context may take."""
    if device.type != "cuda":
        return False
    free, whole = torch.cuda.mem_get_info(device)
    return whole - free - torch.cuda.memory_reserved(device) > CONTEXT


@cache
def processors() -> frozenset[int]:
    """Those that this process may run on."""
    return frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


class _Counters(NamedTuple):
    """Seconds since some time in the past, of all our processors: busy, stolen; of our own processes; and the switches of
    this one.
    """

    busy: float
    stolen: float
    own: float
    switches: int


def _counters() -> _Counters | None:
    """None where the kernel does not tell."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    ticks = [
        [int(count) for count in counts]
        for name, *counts in map(str.split, lines)
        if name[:3] == "cpu" and name[3:].isdigit() and int(name[3:]) in processors()
    ]
    tick = 1 / os.sysconf("SC_CLK_TCK")
    # user, nice, system, idle, iowait, irq, softirq, steal
    busy, stolen = sum(sum(of[:3]) + sum(of[5:7]) for of in ticks), sum(sum(of[7:8]) for of in ticks)
    own = _seconds_together(tick) if Together.companions else time.process_time()
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    return None if own is None else _Counters(busy * tick, stolen * tick, own, switches)


def _seconds_together(tick: float) -> float | None:
    """What the processes of this run have had of processors, those that it has waited for too."""
    first, own = Path("/proc", str(Together.first)), 0
    try:
        children = [number for task in first.glob("task/*/children") for number in task.read_text().split()]
        for number in (first.name, *children):
            # behind the name, which may hold anything: the state, then user, system, and those of children that are over
            counted = Path("/proc", number, "stat").read_text().rpartition(")")[2].split()[11:15]
            own += sum(map(int, counted))
    except OSError:  # one has just ended, or the kernel does not tell
        return None
    return own * tick


def _between(before: _Counters | None, after: _Counters | None, seconds: float, threads: int) -> OtherWork | None:
    """`threads`: of this process; its companions keep as many busy each."""
    if before is None or after is None:
        return None
    busy, stolen, own, switches = (b - a for a, b in zip(before, after, strict=True))
    count, late = len(processors()), TICK * len(processors())
    taken, stolen = max(busy - own - late, 0.0) / seconds, max(stolen - late, 0.0) / seconds / count
    aside = max(switches - threads, 0) / seconds / threads
    too_few = count - taken < threads * (1 + Together.companions) * (1 - SLACK)
    put_aside = aside > SWITCHES and not Together.companions  # which put each other aside on a quiet machine too
    return OtherWork(taken, aside, stolen, too_few or put_aside or stolen > STEAL)


def repeated(work: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Seconds of each of `repeats` calls, after one that does not count."""
    work()
    seconds = []
    for _ in range(repeats):
        with Stopwatch(device) as watch:
            work()
        seconds.append(watch.seconds)
    return seconds


def undisturbed(work: Callable[[], object], device: torch.device, repeats: int) -> tuple[list[float], OtherWork | None]:
    """Seconds as `repeated` has them, and what the machine did besides; taken anew where that disturbs, TRIES times in all.

    The calls are judged together: one alone may be over before the kernel has counted anything.
    """
    for _ in range(TRIES):
        with Stopwatch(device) as watch:
            seconds = repeated(work, device, repeats)
        if watch.other_work is None or not watch.other_work.disturbs:
            break
    return seconds, watch.other_work


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
