"""A tiny experiment in processes that are killed at random instants, or that share it; what it comes to, against one process.

    PYTHONPATH=.:tests OMP_NUM_THREADS=1 python tests/harness/killed.py FOLDER [KILLS] [SEED] [PROCESSES] [STORE]

prints where the kills fell. STORE is an empty one of MLflow's, which it else makes. Each kill is aimed at a stage, or at what
lies between one and the next, and falls at a random instant after that has begun. Processes are forks of this one, which has
imported everything: a life takes a second. Their clocks are made to stand still, since times are the only thing in a row that
differs from run to run.
"""

import json
import mmap
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import chdir, closing, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot  # noqa: F401
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
import torch
import torchvision  # noqa: F401
from harness.tiny import write_tiny

from replication.cli import main
from replication.commands import report, run  # noqa: F401
from replication.harness import workplace
from replication.harness.jobs import cell
from replication.harness.journal import Journal
from replication.harness.store import Sweep
from replication.harness.tracking import Tracking
from replication.metrics.machine import throughput
from replication.metrics.timing import Stopwatch
from replication.sampling.generation import Source
from replication.training.loop import TrainingState

RUN, REPORT = ["run", "tiny", "--device", "cpu", "--quiet"], ["report", "tiny"]
WORK = ("train", "sample", "measure", "journal", "log")
STAGES = ("start", *WORK, *(f"after {name}" for name in WORK), "report")
stage = mmap.mmap(-1, 16)  # where the last fork is: it is shared with it


def new(project: Path, store: Path | None = None) -> Path:
    """A project with the experiment, four chunks for each of its three rows, and an empty MLflow store that is made already."""
    project.mkdir(parents=True)
    write_tiny(
        project,
        ("[profiles.cpu]\nbatch_size = 8", "[profiles.cpu]\nbatch_size = 4"),
        ("[profiles.cpu.recipe.training]\nsteps = 2", "[profiles.cpu.recipe.training]\nsteps = 6"),
    )
    (project / "runs").mkdir()
    if store:
        for part in store.parent.glob("mlflow.db*"):
            shutil.copy(part, project / "runs" / part.name)
    return project


def begin(project: Path, *work: list[str] | Callable[[], object]) -> int:
    """A process that does this there, one after the other, until something fails; its number."""
    if number := os.fork():
        return number
    code = 99
    try:
        os.chdir(project)
        for name in ("REPLICATION_HOME", "MLFLOW_TRACKING_URI"):
            os.environ.pop(name, None)
        os.environ["REPLICATION_COMMIT"] = "the same"  # whatever is edited meanwhile
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        watch(project / "log.txt")
        for one in work:
            mark("report" if one == REPORT else "start")
            code = main(one) if isinstance(one, list) else bool(one())
            if code:
                break
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def mark(text: str) -> None:
    stage[:] = text.encode().ljust(16)


def marked() -> str:
    return stage[:].decode().strip(" \0")


def watch(log: Path) -> None:
    """In this process: no time passes, every step of the training is kept, and what is done is marked and logged."""

    def note(text: str) -> None:
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {text}\n")

    def within(owner: Any, name: str, text: str, noted: Callable[..., str | None] = lambda *_: None) -> None:
        original = getattr(owner, name)

        def staged(*arguments: Any, **options: Any) -> Any:
            if what := noted(*arguments):
                note(what)
            before = marked()
            mark(text)
            done = original(*arguments, **options)
            mark(before if before in WORK else f"after {text}")
            return done

        setattr(owner, name, staged)

    TrainingState.seconds = property(lambda self: 0.5 * self.step, lambda *_: None)  # type: ignore[assignment]
    Stopwatch.__exit__ = lambda self, *_: setattr(self, "seconds", 0.01)  # type: ignore[method-assign]
    cell.peak_memory = lambda _: 1
    workplace.train = partial(workplace.train, checkpoint_seconds=0.0)  # type: ignore[assignment]
    within(workplace, "train", "train")
    within(
        Source,
        "x0",
        "sample",
        lambda _, sampling, noise, *__: f"draws {sampling.sampler} x {sampling.steps} from {int(noise.indices[0])}",
    )
    within(cell, "measured", "measure")
    within(Journal, "write", "journal", lambda _, computed: f"writes {computed.record['label']}")
    within(Sweep, "log", "log")


def ended(number: int, within: float = 600.0) -> int | None:
    """The exit code, negative for a signal; None where it lives on so many seconds later."""
    until = time.monotonic() + within
    while True:
        process, status = os.waitpid(number, os.WNOHANG)
        if process:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            return None
        time.sleep(0.002)


def whole(project: Path) -> dict[str, float]:
    """Run without interruption; by stage, the seconds that it takes each time that it begins, about."""
    number = begin(project, RUN, REPORT)
    seconds, times, before = dict.fromkeys(STAGES, 0.0), dict.fromkeys(STAGES, 0), ""
    while (code := ended(number, 0.0)) is None:
        now = time.monotonic()
        time.sleep(0.0005)
        if (at := marked()) in seconds:
            seconds[at] += time.monotonic() - now
            times[at] += before != at
        before = at
    assert code == 0, (project / "output.txt").read_text()
    return {at: seconds[at] / max(times[at], 1) for at in STAGES}


def killed_in(project: Path, target: str, delay: float) -> str | None:
    """Run, killed so many seconds after the target has begun; the stage that it was in then. None where it got to its end."""
    mark("")
    number, until = begin(project, RUN, REPORT), float("inf")
    while (code := ended(number, 0.0)) is None:
        if until == float("inf") and marked() == target:
            until = time.monotonic() + delay
        if time.monotonic() >= until:
            at = marked()
            os.kill(number, signal.SIGKILL)
            return at if ended(number) == -signal.SIGKILL else None
        time.sleep(0.0005)
    assert code == 0, (project / "output.txt").read_text()
    return None


def outcome(project: Path) -> dict[str, bytes]:
    """Every file that a run and a report leave, but for locks and MLflow's: tables, rows, strips, chunks, snapshots, features."""
    places = [
        project / "results",
        *(project / "runs" / name for name in ("journal", "samples", "checkpoints", "references")),
    ]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    kept = [path for path in files if not path.name.startswith(".") and path.suffix != ".mlflow"]
    return {str(path.relative_to(project)): path.read_bytes() for path in kept}


def done(project: Path) -> Iterator[tuple[int, str]]:
    """Process and what it did, in the order of the log."""
    for line in (project / "log.txt").read_text(encoding="utf-8").splitlines():
        number, _, what = line.partition(" ")
        yield int(number), what


def drawn_again(project: Path) -> int:
    """How many chunks were drawn a second time; each was the one in flight when its process was killed."""
    last = dict(done(project))
    first: dict[str, int] = {}
    again = 0
    for number, what in done(project):
        if what.startswith("draws"):
            if what in first:
                assert last[first[what]] == what, f"{what} was drawn by {first[what]}, which went on, and by {number}"
                again += 1
            first[what] = number
    return again


def logged(project: Path) -> dict[str, int]:
    """Finished runs in MLflow for each row."""
    query = "SELECT value FROM tags JOIN runs USING (run_uuid) WHERE key = 'cell' AND status = 'FINISHED' AND lifecycle_stage = 'active'"
    with closing(sqlite3.connect(project / "runs" / "mlflow.db")) as database:
        found = Counter(value for (value,) in database.execute(query))
    return dict(found)


def check(project: Path, expected: Path) -> None:
    """What both came to is the same to the byte, and MLflow has every row once."""
    ours, theirs = outcome(project), outcome(expected)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert logged(project) == logged(expected) == dict.fromkeys(logged(expected), 1)
    assert len(logged(project)) == 3


def store_made(folder: Path) -> Path:
    """An empty MLflow store: making one takes longer than all else."""
    project = new(folder / "template")

    def make() -> None:
        Tracking(Path("runs")).client.get_experiment_by_name("Default")

    assert ended(begin(project, make)) == 0, (project / "output.txt").read_text()
    return project / "runs" / "mlflow.db"


def kills(
    folder: Path, store: Path, expected: Path, least: int, lengths: dict[str, float], chance: random.Random
) -> dict[str, Any]:
    """At least so many of them, over as many experiments as that takes; figures for a report."""
    fell: list[str] = []
    again = projects = 0
    while len(fell) < least:
        project = new(folder / f"killed-{projects}", store)
        while at := killed_in(project, target := chance.choice(STAGES), chance.uniform(0, lengths[target])):
            fell.append(at)
        check(project, expected)
        again += drawn_again(project)
        projects += 1
        shutil.rmtree(project)
        print(projects, dict(Counter(fell)), again, file=sys.stderr, flush=True)
    return {"kills": len(fell), "experiments": projects, "fell": dict(Counter(fell)), "chunks drawn again": again}


def shared(folder: Path, store: Path, expected: Path, processes: int, kill_after: float | None) -> dict[str, Any]:
    """Several on one store, of which one is killed; figures for a report."""
    project = new(folder / f"shared-{kill_after}", store)
    numbers = [begin(project, RUN) for _ in range(processes)]
    if kill_after is not None and ended(victim := numbers.pop(0), kill_after) is None:
        os.kill(victim, signal.SIGKILL)
        ended(victim)
    assert {ended(number) for number in numbers} == {0}, (project / "output.txt").read_text()
    assert ended(begin(project, REPORT)) == 0
    check(project, expected)
    rows = Counter(what for _, what in done(project) if what.startswith("writes"))
    drawers = {number for number, what in done(project) if what.startswith("draws")}
    return {
        "processes": processes, "rows written": rows, "that drew": len(drawers), "chunks drawn again": drawn_again(project),
    }  # fmt: skip


def undisturbed(folder: Path, store: Path, expected: Path, processes: int) -> dict[str, Any]:
    """Several of which none is killed; again where one had drawn everything before the others were there."""
    for attempt in range(3):
        found = shared(folder / str(attempt), store, expected, processes, None)
        if found["that drew"] > 1:
            break
    return found


def figures(folder: Path, least: int = 100, seed: int = 0, processes: int = 4, made: str = "") -> dict[str, Any]:
    """Both, against one process that nothing disturbed."""
    throughput(torch.device("cpu"), "float32")  # else every life measures it
    store = Path(made) if made else store_made(folder)
    expected = new(folder / "whole", store)
    with chdir(expected), redirect_stdout(None):
        main(["plan", "tiny"])  # imports what else every life would import
    started = time.monotonic()
    lengths = whole(expected)
    seconds = time.monotonic() - started
    chance = random.Random(seed)
    return {
        "seconds": {at: round(of, 3) for at, of in lengths.items()},
        "shared": undisturbed(folder, store, expected, processes),
        "shared, one killed": shared(folder, store, expected, processes, chance.uniform(0.1, 0.5) * seconds),
        "killed": kills(folder, store, expected, least, lengths, chance),
    }


if __name__ == "__main__":
    print(json.dumps(figures(Path(sys.argv[1]).absolute(), *map(int, sys.argv[2:5]), *sys.argv[5:])))
