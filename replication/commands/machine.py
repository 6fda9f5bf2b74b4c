"""`replicate doctor`, `bench`, `sync` and `status`."""

import argparse
import os
import shutil
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import torch

from replication.bench import bench
from replication.commands.options import device_of, print_json
from replication.harness.home import project, state
from replication.harness.provenance import LIBRARIES
from replication.harness.store import Store, sync
from replication.harness.sweep import all_journals
from replication.metrics.timing import device_name
from replication.progress import duration, running
from replication.registry import DATASETS, EXTRACTORS, REGISTRIES
from replication.report.reproduced import committed_rows, tags_beside
from replication.report.speed import write_speed
from replication.report.tables import markdown
from replication.terminal import show
from replication.types import InputError


def sync_rows(_: argparse.Namespace) -> None:
    store = Store(state())
    store.check()
    refused: list[InputError] = []
    for journal in all_journals(state()):
        committed = committed_rows(project() / "results" / f"{journal.folder.name}.csv")
        try:
            count = sync(journal, store, trust_marks=False, tags=tags_beside(committed))
        except InputError as error:  # of this experiment alone
            refused.append(error)
        else:
            print(f"{journal.folder.name}: {count} rows are in MLflow at {store.shown}")
    if refused:
        raise InputError("; ".join(map(str, refused)))


def status(options: argparse.Namespace) -> None:
    """The sweeps that run on this state folder now, and the rows of each journal."""
    now, columns = time.time(), ["sweep", "process", "rows", "row", "progress", "running for", "left", "last sign"]
    sweeps, journals = running(state()), {one.folder.name: len(one.done()) for one in all_journals(state())}
    if options.json:
        print_json({"running": sweeps, "rows": journals})
        return
    lines = [
        [
            *(note["sweep"], f"{note['process']} on {note['host']}", f"{note['done']} of {note['rows']}", note["row"]),
            *(note["progress"], duration(now - note["begun"]), f"about {duration(note['seconds_left'])}"),
            f"{duration(now - note['seen'])} ago",
        ]
        for note in sweeps
    ]
    rows = [[name, str(count)] for name, count in journals.items()]
    parts = [markdown(columns, lines) if lines else f"Nothing runs on {state()}."]
    show("\n\n".join([*parts, *([markdown(["journal", "rows"], rows)] if rows else [])]), options.all)


def bench_all(options: argparse.Namespace) -> None:
    """Each line when it is known; the files in results/ grow with every line."""
    device, files = device_of(options.device), []
    for name, section in bench(device, options.sections, options.budget):
        cells = section.lines[-1].cells()
        print(f"{name}: {cells.pop('what')}: " + "; ".join(f"{k} {v}" for k, v in cells.items() if v), flush=True)
        files = write_speed(device_name(device), {name: section}, project() / "results")
    print("\n".join(f"wrote {file.relative_to(project())}" for file in files))


def doctor(options: argparse.Namespace) -> None:
    """What this machine has, as a table; raises InputError for what would stop a run of profile cpu."""
    trouble = []
    place, store = next(path for path in (state(), *state().parents) if path.exists()), Store(state())
    if not (place.is_dir() and os.access(place, os.W_OK)):
        trouble.append(f"{place} is no folder that can be written to: set REPLICATION_HOME to a folder that is")
    space = f"{state()}: {shutil.disk_usage(place).free / 1e9:.0f} GB free"
    lines = [("state", space), *_found(device_of(options.device))]
    try:
        store.check()
        lines.append(("tracking", store.shown))
    except InputError as error:
        lines.append(("tracking", f"{store.shown} cannot be used"))
        trouble.append(str(error))
    if options.json:
        print_json({"found": [{"what": what, "found": found} for what, found in lines], "trouble": trouble})
    else:
        show(markdown(["what", "found"], lines), options.all)
    if trouble:
        raise InputError("; ".join(trouble))


def _found(device: torch.device) -> Iterator[tuple[str, str]]:
    for package in (*LIBRARIES, "mlflow", "diffusers"):
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed"
    yield "device", f"{device_name(device)} ({device}, {torch.get_num_threads()} threads)"
    for _, dataset in DATASETS.built():
        yield "dataset", dataset.status()
    for name, extractor in EXTRACTORS.built():
        here = f"weights {extractor.sha256[:12]}" if extractor.present else "weights not here; downloaded on first use"
        yield "extractor", f"{name}: {here}"
    for parts in REGISTRIES.values():
        parts.names()
        yield from (("other parts", reason) for reason in parts.unreadable)
