"""What the harness costs beside drawing and measuring, and how time and memory grow with rows, images and steps.

    python -m replication.bench.harness overhead             ms of a row, and their share of a row of a minute
    python -m replication.bench.harness rows|images|steps    time and memory over growing sizes, one after the other
    python -m replication.bench.harness rows 10 100 10000    over these

The network is about the smallest that there is, so that what is left is the harness's own. Nothing is written outside of a
folder that is thrown away. The tables of docs/scaling-out.md are made by it.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch

from replication.harness.experiment import load_experiment
from replication.harness.job import Job, jobs_of, rows_among
from replication.harness.jobs import cell
from replication.harness.store import Giving, Store
from replication.harness.sweep import journal_of, run
from replication.harness.tracking import VARIABLE
from replication.harness.workplace import Workplace
from replication.progress import be_quiet
from replication.report.tables import markdown
from replication.sampling.generation import Source

ROWS = 30  # whose overhead is timed, after one that trains the network
LONG = 60.0  # seconds of the row that it is set beside
SMALL = {"rows": 1, "images": 100, "steps": 2}  # whatever does not grow
GROWING = {
    "rows": (10, 30, 100, 300),
    "images": (1_000, 3_000, 10_000, 30_000),
    "steps": (100, 300, 1_000, 3_000),
}
BATCH = 500
PARTS: dict[str, tuple[tuple[Any, str], ...]] = {  # what is no overhead, and MLflow, by what does it
    "features, metrics and their intervals": ((cell.Cell, "_measurable"), (cell, "measured")),
    "warm-up, and bare passes for the floor": ((Source, "warm_up"), (Source, "floor")),
    "MLflow (SQLite)": ((Giving, "give"), (Giving, "give_the_rest")),
}
MLFLOW = "MLflow (SQLite)"
TOML = """
title = "Overhead"
papers = []
[profiles.cpu]
batch_size = {batch}
[profiles.cpu.recipe]
dataset = "digits"
network = {{ name = "ddpm-unet", width = 8, multipliers = [1], blocks = 1, attention = [], groups = 4, dropout = 0.0 }}
schedule = {{ name = "linear", T = 10000 }}
parameterization = "eps"
objective = "simple"
training = {{ steps = 1, batch_size = 8, learning_rate = 1e-3, warmup = 1, ema_decay = 0.5, flip = false }}
[profiles.cpu.protocol]
name = "overhead"
n = {images}
quantizer = "round"
reference = "test"
extractor = "digits-cnn"
resamples = 2
[[profiles.cpu.rows]]
label = "DDIM, seed {{protocol.seeds}}"
sampler = "ddim"
spacing = "uniform"
clip = "x0"
steps = [{steps}]
grid.protocol.seeds = {seeds}
"""


def overhead(device: torch.device) -> str:
    """Milliseconds of a row that are neither drawing nor measuring, and their share of a row of LONG seconds."""
    with _own_state() as folder:
        jobs = jobs_of(load_experiment(str(_experiment(folder, SMALL | {"rows": ROWS + 1}))), "cpu")
        place, store = Workplace(folder, device, BATCH), Store(folder)
        run(jobs[:1], place, store)
        with _timed(PARTS) as seconds:
            started = time.perf_counter()
            run(jobs[1:], place, store)
            whole = time.perf_counter() - started
        drawing = _drawing(jobs[1:], folder)
    own = whole - drawing - sum(seconds.values())
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import replication.commands.run"], check=True)
    start = time.perf_counter() - started
    of_harness = {"journal, locks, chunks, strips, provenance, progress": own, MLFLOW: seconds[MLFLOW]}
    lines = [_line(what, of / ROWS) for what, of in of_harness.items()]
    lines += [_line("both: the harness", sum(of_harness.values()) / ROWS)]
    beside = {"drawing": drawing, **{what: of for what, of in seconds.items() if what != MLFLOW}}
    lines += [[f"beside it, of these rows: {what}", f"{of / ROWS * 1e3:.1f}", ""] for what, of in beside.items()]
    lines += [["start of the command, once", f"{start * 1e3:.0f}", ""]]
    return markdown([f"of a row ({ROWS} rows of {SMALL['images']} images)", "ms", f"of a row of {LONG:.0f} s"], lines)


def _line(what: str, seconds: float) -> list[str]:
    return [what, f"{seconds * 1e3:.1f}", f"{seconds / LONG:.2%}"]


def growth(what: str, sizes: Sequence[int], device: torch.device) -> str:
    """Seconds and memory of a run of so many rows, images or steps after the other, in this process.

    Peaks are those of the process so far: they show what a larger size takes more than all before it.
    """
    lines: list[list[str]] = []
    before, begun = (0, 0.0), 1
    with _own_state() as folder:
        place, store = Workplace(folder, device, BATCH), Store(folder)
        for size in (SMALL[what], *sizes):  # the first one trains, and makes what all others find
            of = SMALL | {what: size}
            jobs = jobs_of(load_experiment(str(_experiment(folder, of, begun))), "cpu")
            started, begun = time.process_time(), begun + of["rows"]
            run(jobs, place, store)
            taken = time.process_time() - started
            drawing = _drawing(jobs, folder)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
            print(f"{size:,} {what}: {taken:.1f} s, {peak:.0f} MB", file=sys.stderr, flush=True)
            more = f"{(taken - before[1]) / (size - before[0]) * 1e3:.3g}" if lines[1:] else ""
            lines.append([f"{size:,}", f"{taken:.2f}", more, f"{drawing:.2f}", f"{peak:.0f}"])
            before = size, taken
    others = " and ".join(f"{n} {other}" for other, n in SMALL.items() if other != what)
    columns = [f"{what}, with {others}", "processor seconds", "ms for each more", "seconds drawing", "peak MB"]
    return markdown(columns, lines[1:])


@contextmanager
def _own_state() -> Iterator[Path]:
    """A state folder that is thrown away, with an MLflow store of its own; nothing is shown."""
    with TemporaryDirectory() as folder, patch.dict(os.environ):
        os.environ.pop(VARIABLE, None)
        be_quiet(True)
        yield Path(folder)


def _experiment(folder: Path, of: Mapping[str, int], first_seed: int = 0) -> Path:
    """The file of an experiment with so many rows, images in each, and steps."""
    seeds = [[seed] for seed in range(first_seed, first_seed + of["rows"])]
    path = folder / "overhead.toml"
    path.write_text(TOML.format(batch=BATCH, images=of["images"], steps=of["steps"], seeds=seeds), encoding="utf-8")
    return path


def _drawing(jobs: Sequence[Job], state: Path) -> float:
    """Seconds that the images of the jobs' rows took, of one seed each."""
    rows = rows_among(jobs, journal_of(jobs, state).rows())
    return sum(float(row["timing.image_seconds"]) * int(row["protocol.n"]) for row in rows.values())


@contextmanager
def _timed(parts: Mapping[str, Sequence[tuple[Any, str]]]) -> Iterator[dict[str, float]]:
    """The seconds that the functions of each part take, while this lasts."""
    seconds = dict.fromkeys(parts, 0.0)

    def timing(part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*of: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return work(*of, **options)
            finally:
                seconds[part] += time.perf_counter() - started

        return timed

    with ExitStack() as stack:
        for part, functions in parts.items():
            for owner, name in functions:
                stack.enter_context(patch.object(owner, name, timing(part, getattr(owner, name))))
        yield seconds


if __name__ == "__main__":
    what, *sizes = sys.argv[1:] or ["overhead"]
    if what not in ("overhead", *GROWING):
        sys.exit(f"unknown: {what} (valid: overhead, {', '.join(GROWING)})")
    processor = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(overhead(processor) if what == "overhead" else growth(what, [*map(int, sizes)] or GROWING[what], processor))
