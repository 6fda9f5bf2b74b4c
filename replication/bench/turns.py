"""Runs that take turns on one machine."""

from collections.abc import Callable, Mapping

import torch

from replication.metrics.timing import repeated


def in_turns(
    runs: Mapping[str, Callable[[], object]], device: torch.device, turns: int, warmups: int = 1
) -> dict[str, list[float]]:
    """Seconds of each run in each turn; every run is warmed up in the first one."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns):
        for name, work in runs.items():
            seconds[name] += repeated(work, device, repeats=1, warmups=0 if turn else warmups)
    return seconds
