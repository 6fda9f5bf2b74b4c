"""Runs that take turns on one machine, the floor's among them; a machine that is not idle; processes that work together.

A team's processes have one thread each, and start as harness/companions.py starts them: as many as this one has threads.
"""

import atexit
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from multiprocessing import get_context
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from replication.memory import keep_freed_memory
from replication.metrics.timing import OtherWork, Stopwatch
from replication.numerics import Precision, float32_as
from replication.report.speed import COPY, PRODUCT, Line
from replication.training.processes import Processes, met

TURNS, FEWEST = 9, 3  # of a line, as its share of the time allows
PATIENCE = 4.0  # times its share, for as long as it has fewer
SHORT = 0.1  # seconds that a run lasts in a turn at least, called again and again
SIDES = {"cpu": 2048, "cuda": 8192}  # of the matrix product
COPIED = {"cpu": 1 << 26, "cuda": 1 << 30}  # bytes of the copy, which reads and writes them: no cache holds as many
BUSY = "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n    sum(range(100000))"

Run = Callable[[], Any]
Seconds = Mapping[str, Sequence[float]]  # of each turn, by run
Around = Mapping[str, Callable[[], AbstractContextManager[object]]]


@dataclass(frozen=True)
class Work:
    """What is timed beside its peers.

    runs: OURS and the peers', by name. multiply_adds, bytes: what ours takes at least. images: of one call; 0 prints seconds.
    precision: of the product that is its floor; "float64" for what is computed in that. notes: further figures, of the
    seconds of all turns. turns: at most. around: of runs that are timed in a condition of their own, what sets it up and
    ends it; a disturbance of theirs is no disturbance of the line.
    """

    runs: Mapping[str, Run]
    multiply_adds: float = 0.0
    bytes: float = 0.0
    images: int = 0
    precision: Precision | str = "float32"
    warmups: int = 1
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Callable[[Seconds], str]] = field(default_factory=dict)
    turns: int = TURNS
    close: Run = lambda: None  # what the work has started is ended, once its line is there
    around: Around = field(default_factory=dict)


class Task(NamedTuple):
    """A line to come, by its name: its work is built when its turn has come, since networks take memory."""

    what: str
    work: Callable[[], Work]


def line_of(task: Task, device: torch.device, seconds: float) -> Line:
    """Its line, of as many turns as `seconds` allow, what it takes to build the work included; FEWEST at least."""
    begun = time.monotonic()
    work = task.work()
    runs, product, copied = dict(work.runs), 0.0, 0.0
    if work.multiply_adds or work.bytes:
        runs = {**_floor(work.precision, device), **runs}
        product, copied = SIDES[device.type] ** 3, 2 * COPIED[device.type]
    seconds -= time.monotonic() - begun
    try:
        taken, disturbed = in_turns(runs, device, seconds, work.warmups, work.turns, work.around)
    finally:
        work.close()
    notes = {heading: note(taken) for heading, note in work.notes.items()}
    unit, scale = ("ms/image", 1e3 / work.images) if work.images else ("s", 1.0)
    return Line(
        task.what, unit, scale, taken, work.multiply_adds, work.bytes, product, copied, work.missing, notes, disturbed
    )  # fmt: skip


def _floor(precision: Precision | str, device: torch.device) -> dict[str, Run]:
    dtype = {"bf16": torch.bfloat16, "float64": torch.float64}.get(precision, torch.float32)
    side, size = SIDES[device.type], COPIED[device.type]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source, target = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))

    def product() -> object:
        with float32_as("tf32" if precision == "tf32" else "float32"):
            return a @ b

    return {PRODUCT: product, COPY: lambda: target.copy_(source)}


def in_turns(
    runs: Mapping[str, Run],
    device: torch.device,
    allowed: float,
    warmups: int = 1,
    most: int = TURNS,
    around: Around | None = None,
) -> tuple[dict[str, list[float]], str]:
    """Seconds of a call of each run in each turn, and what disturbed these, on the average; "" where nothing did.

    A disturbed turn is taken again while the `allowed` seconds last. Where FEWEST are undisturbed, they alone count. `most`:
    undisturbed ones that are wanted.
    """
    begun, around, conditioned = time.monotonic(), around or {}, set(around or {})
    calls = {name: _calls(run, device, warmups) for name, run in runs.items()}
    turns: list[tuple[dict[str, float], list[OtherWork]]] = []
    longest = 0.0
    while len(turns) < 3 * most and sum(not _disturbed(seen) for _, seen in turns) < most:
        patience = PATIENCE if len(turns) < FEWEST else 1.0
        if turns and time.monotonic() - begun + longest > allowed * patience:
            break
        started, taken, seen = time.monotonic(), {}, []
        for name, run in runs.items():
            with around.get(name, nullcontext)(), Stopwatch(device) as watch:
                for _ in range(calls[name]):
                    run()
            taken[name] = watch.seconds / calls[name]
            if watch.other_work is not None and name not in conditioned:
                seen.append(watch.other_work)
        turns.append((taken, seen))
        longest = max(longest, time.monotonic() - started)
    quiet = [turn for turn in turns if not _disturbed(turn[1])]
    counted = quiet if len(quiet) >= min(FEWEST, most) else turns
    seconds = {name: [taken[name] for taken, _ in counted] for name in runs}
    if counted is quiet:
        return seconds, ""
    processors, switches, steal, _ = (
        statistics.fmean(of) for of in zip(*(work for _, seen in counted for work in seen), strict=True)
    )
    return seconds, str(OtherWork(processors, switches, steal, disturbs=True))


def _disturbed(seen: Sequence[OtherWork]) -> bool:
    return any(work.disturbs for work in seen)


def _calls(run: Run, device: torch.device, warmups: int) -> int:
    """How often it is called in a turn, after its warm-up; what is not warmed up takes long enough by itself."""
    if not warmups:
        return 1
    for _ in range(warmups):
        with Stopwatch(device) as watch:
            run()
    return max(1, min(1000, round(SHORT / max(watch.seconds, 1e-9))))


def apart(ours: Tensor, theirs: Tensor) -> str:
    """The largest difference of two answers, relative to the largest of theirs."""
    return f"{float((ours - theirs).abs().max() / theirs.abs().max()):.0e}"


@contextmanager
def company() -> Iterator[None]:
    """Another process that keeps one processor busy meanwhile; it ends with this one, however that ends."""
    busy = subprocess.Popen([sys.executable, "-S", "-c", BUSY, str(os.getpid())])
    try:
        time.sleep(SHORT)  # until it is there
        yield
    finally:
        busy.kill()
        busy.wait()


def pays_on(device: torch.device) -> bool:
    return device.type == "cpu" and torch.get_num_threads() > 1


def together_on(device: torch.device) -> str:
    """How a line's name ends where a team does the work."""
    return f", {torch.get_num_threads()} processes of one thread" if pays_on(device) else ""


class Team:
    """Called, each of the processes does once what `build`, which is pickled, has made there."""

    def __init__(self, build: Callable[[Processes], Run]):
        self.count, context = torch.get_num_threads(), get_context("spawn")
        self._folder = TemporaryDirectory()
        given = context.Value("i", 0), self.count, self._folder.name, build
        self._pool = ProcessPoolExecutor(self.count, context, _begin, given)

    def __call__(self) -> list[Any]:
        return list(self._pool.map(_do, range(self.count)))

    def close(self) -> None:
        self._pool.shutdown()
        self._folder.cleanup()


_run: Run  # of this process, where it is one of a team


def _begin(begun: Any, count: int, folder: str, build: Callable[[Processes], Run]) -> None:
    global _run
    with begun.get_lock():
        index, begun.value = begun.value, begun.value + 1
    torch.set_num_threads(1)
    keep_freed_memory()
    meeting = ExitStack()
    atexit.register(meeting.close)
    _run = build(meeting.enter_context(met(index, count, folder)))


def _do(_: int) -> None:
    """In each once: who is done waits for the others to begin."""
    distributed.barrier()
    _run()
