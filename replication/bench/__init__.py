"""`replicate bench`: the one place where speed is measured for publication, each line beside its floor and its peers.

All runs of a line use the same weights, batch and times, or the same features, and take turns, so that a machine that
slows down slows them all; figures are medians over the turns. report/speed.py says what is kept and how it is printed.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from replication.bench import breakdown, decoding, distance, networks, pages, sampling
from replication.bench.turns import Task, line_of
from replication.harness.provenance import provenance
from replication.registry import one_of
from replication.report.speed import Line, Section

TASKS: dict[str, Callable[[torch.device], list[Task]]] = {
    "forward": networks.forward,
    "training": networks.training,
    "sampling": sampling.sampling,
    "decoding": decoding.decoding,
    "features": distance.features,
    "distance": distance.distance,
    "report": pages.report,
    "company": sampling.in_company,
    "interval": distance.interval,
    "breakdown": breakdown.breakdown,
}
BY_NAME_ONLY = ("interval", "breakdown")  # minutes by itself; no comparison
BUDGET = 540.0  # seconds, of the ten minutes that all sections may take on two cores
NO_TIME = "not measured: no time was left"


def bench(device: torch.device, names: Sequence[str] = (), budget: float = BUDGET) -> Iterator[tuple[str, Section]]:
    """The sections named, or all that are quick, as far as they are measured: again with each line, as soon as it is known.

    What is left of `budget`, seconds, is shared among the lines to come. Raises InputError for an unknown name.
    """
    for name in names:
        one_of("section", name, TASKS)
    every = {name: TASKS[name](device) for name in names or [name for name in TASKS if name not in BY_NAME_ONLY]}
    ahead, ends = sum(map(len, every.values())), time.monotonic() + budget
    for name, tasks in every.items():
        lines: list[Line] = []
        for task in tasks:
            print(f"{name}: {task.what} ...", file=sys.stderr, flush=True)
            lines.append(_measured(task, device, (ends - time.monotonic()) / ahead))
            ahead -= 1
            load = ", ".join(f"{of:.2f}" for of in os.getloadavg())
            yield name, Section({**provenance(device), "env.load": load}, lines)


def _measured(task: Task, device: torch.device, seconds: float) -> Line:
    """Its line; one without times, which says why, where there is no time or a library is not there."""
    if seconds <= 0:
        return Line(task.what, "s", 1.0, {}, missing={"": NO_TIME})
    try:
        return line_of(task, device, seconds)
    except ImportError as error:
        return Line(task.what, "s", 1.0, {}, missing={"": f"not measured: {error}"})
