"""`replicate export` and `import`: rows, and what belongs to them, from one machine to another."""

import argparse
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import torch

from replication.harness.archive import export_archive, import_archive
from replication.harness.experiment import load_experiment
from replication.harness.home import state
from replication.harness.job import rows_among
from replication.harness.jobs.cell import Cell, cells_of
from replication.harness.journal import Record
from replication.harness.sweep import all_journals
from replication.harness.workplace import Workplace
from replication.registry import unknown
from replication.sampling.generation import chunks_in
from replication.types import InputError


def export(options: argparse.Namespace) -> None:
    place = Workplace(state(), torch.device("cpu"), batch_size=1)
    found = {journal: journal.rows() for journal in all_journals(place.state)}
    names = sorted({row["experiment"] for rows in found.values() for row in rows})
    for name in options.experiments:
        if name not in names:
            raise InputError(f"export: {unknown('experiment with rows here', name, names)}")
    wanted = {j: rows for j, rows in found.items() if rows and rows[0]["experiment"] in (options.experiments or names)}
    cells = [cell for rows in wanted.values() for cell in _cells(rows)] if options.samples or options.weights else []
    for pattern in [*(options.samples or ()), *(options.weights or ())]:
        if not any(_asked(cell, [pattern]) for cell in cells):
            raise InputError(f"export: there is no row {pattern!r} here, as in 'DDIM x 20' or '* x 50'")
    drawn = [cell for cell in cells if _asked(cell, options.samples)]
    folders = {cell.sample_place(seed, place).folder for cell in drawn for seed in cell.protocol.seeds}
    chunks = [chunk.path for folder in sorted(folders) for chunk in chunks_in(folder)]
    snapshots = {path for cell in cells if _asked(cell, options.weights) for path in _snapshots(cell, place)}
    written = export_archive(options.file, place.state, wanted, chunks, sorted(snapshots))
    print(f"wrote {options.file}, {options.file.stat().st_size:,} bytes: {_counted(written)}")


def import_(options: argparse.Namespace) -> None:
    taken = import_archive(options.file, state())
    print(f"taken in: {_counted(taken.new)}; here already, and left as they are: {_counted(taken.here)}")
    if taken.new["rows"]:
        print("`replicate report` makes tables of them, `replicate sync` gives them to MLflow")


def _cells(rows: list[Record]) -> list[Cell]:
    """The cells that have these rows, all of one table."""
    cells = cells_of(load_experiment(rows[0]["experiment"]), rows[0]["profile"], check=False)
    done = rows_among(cells, rows)
    return [cell for cell in cells if cell.key in done]


def _asked(cell: Cell, patterns: list[str] | None) -> bool:
    return any(fnmatchcase(cell.title, pattern) for pattern in patterns or ())


def _snapshots(cell: Cell, place: Workplace) -> Iterator[Path]:
    recipe = cell.recipe
    yield place.snapshots(recipe).after(recipe.training.steps)
    if stage := recipe.first_stage:
        yield place.stage_snapshots(stage, recipe.build_dataset()).after(stage.training.steps)


def _counted(members: Counter[str]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(members.items())) or "nothing"
