"""Runs that take turns on one machine, and what a table prints of their times."""

import statistics
from collections.abc import Callable, Mapping, Sequence

import torch

from replication.metrics.timing import repeated

Seconds = Sequence[float]  # of each turn


def in_turns(
    runs: Mapping[str, Callable[[], object]], device: torch.device, turns: int, warmups: int = 1
) -> dict[str, list[float]]:
    """Seconds of each run in each turn; every run is warmed up in the first one."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns):
        for name, work in runs.items():
            seconds[name] += repeated(work, device, repeats=1, warmups=0 if turn else warmups)
    return seconds


def milliseconds(seconds: Seconds, batch: int) -> float:
    """Per image of a batch, the median of the turns."""
    return statistics.median(seconds) / batch * 1e3


def ratio(slower: Seconds, faster: Seconds) -> float:
    """The median over the turns of how many times longer one takes than the other."""
    return statistics.median(a / b for a, b in zip(slower, faster, strict=True))
