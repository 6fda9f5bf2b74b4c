"""`replicate export` and `import`: rows, and what belongs to them, from one machine to another; or rows alone, as a table."""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from replication.checkpoint import load_metadata
from replication.files import file_sha256, write_atomically
from replication.harness.archive import export_archive, import_archive
from replication.harness.home import experiments, project, state
from replication.harness.jobs.cell import SAMPLES
from replication.harness.journal import Record, plain
from replication.harness.mlflow_runs import steps_of
from replication.harness.sweep import all_journals
from replication.registry import unknown
from replication.report.rows import csv_text, read_csv
from replication.sampling.chunks import chunks_in
from replication.training.snapshots import GIVEN
from replication.types import InputError


def _json_text(rows: Sequence[Record]) -> str:
    """A list of the rows, each a table of its columns; a figure that is not finite is a text."""
    return json.dumps(plain(rows), indent=1, allow_nan=False) + "\n"


TEXTS: dict[str, Callable[[Sequence[Record]], str]] = {".csv": csv_text, ".json": _json_text}


def export(options: argparse.Namespace) -> None:
    """By the journal alone: an experiment need not be as it was, or be there at all, for its rows to travel."""
    home = state()
    found = {journal: rows for journal in all_journals(home) if (rows := journal.rows())}
    rows = [row for of in found.values() for row in of]
    if text := TEXTS.get(options.file.suffix):
        return _export_text(options, text, rows)
    if options.file.suffix != ".zip":
        raise InputError(f"{options.file}: {unknown('ending', options.file.suffix, ['.zip', *TEXTS])}")
    rows = _asked_for(rows, options.experiments)
    names = {row["experiment"] for row in rows}
    wanted = [journal for journal, of in found.items() if of[0]["experiment"] in names]
    chunks = {path for row in _asked(rows, options.samples) for path in _chunks(row, home)}
    snapshots = _snapshots(list(_asked(rows, options.weights)), home)
    written = export_archive(options.file, home, wanted, sorted(chunks), snapshots)
    print(f"wrote {options.file}, {options.file.stat().st_size:,} bytes: {_counted(written)}")


def _export_text(options: argparse.Namespace, text: Callable[[Sequence[Record]], str], rows: list[Record]) -> None:
    """Every column of the rows, with intervals and provenance; of a table that was not run here, the committed rows."""
    if options.samples or options.weights:
        raise InputError(f"{options.file}: --samples and --weights travel in an archive, whose name ends in .zip")
    here = {f"{row['experiment']}-{row['profile']}" for row in rows}
    tables = [path for name in experiments() for path in sorted((project() / "results").glob(f"{name}-*.csv"))]
    for path in dict.fromkeys(tables):  # the name of one experiment may begin another's
        if path.stem not in here and not path.stem.endswith("-published"):
            rows += read_csv(path)
    wanted = _asked_for(rows, options.experiments)
    write_atomically(options.file, text(wanted).encode())
    print(f"wrote {options.file}: {len(wanted):,} rows")


def import_(options: argparse.Namespace) -> None:
    taken = import_archive(options.file, state())
    print(f"taken in: {_counted(taken.new)}; here already, and left as they are: {_counted(taken.here)}")
    if taken.new["rows"]:
        print("`replicate report` makes tables of them, `replicate sync` gives them to MLflow")


def _asked_for(rows: list[Record], asked: Sequence[str]) -> list[Record]:
    """The rows of these experiments, all where none is named; raises InputError for one that has none."""
    names = sorted({row["experiment"] for row in rows})
    if missing := [name for name in asked if name not in names]:
        raise InputError(f"export: {unknown('experiment with rows', missing[0], names)}")
    return [row for row in rows if row["experiment"] in (asked or names)]


def _asked(rows: Iterable[Record], patterns: list[str] | None) -> Iterator[Record]:
    """The rows that these patterns name; raises InputError for a pattern that names none."""
    titles = [(f"{row['label']}{steps_of(row)}", row) for row in rows]
    for pattern in patterns or ():
        named = [row for title, row in titles if fnmatchcase(title, pattern)]
        if not named:
            raise InputError(f"export: there is no row {pattern!r} here, as in 'DDIM x 20' or '* x 50'")
        yield from named


def _chunks(row: Record, home: Path) -> Iterator[Path]:
    if "sampling.steps" not in row:
        return  # of a first stage, which draws none
    if SAMPLES not in row:
        raise InputError(f"export: row {row['label']!r} is from before rows named their samples: it can travel without")
    for folder in sorted((home / "samples" / row[SAMPLES]).glob("seed-*")):
        yield from (chunk.path for chunk in chunks_in(folder))


def _snapshots(rows: list[Record], home: Path) -> list[Path]:
    """Those that the rows were drawn with; raises InputError where one is not here any more."""
    columns = ("checkpoint.sha256", "checkpoint.first_stage_sha256")
    wanted = {row[column] for row in rows for column in columns if row.get(column, "none") != "none"}
    files = [
        path for folder in ("checkpoints", "first-stages") for path in sorted((home / folder).glob("*.safetensors"))
    ]
    found = {load_metadata(path).get(GIVEN) or file_sha256(path): path for path in files} if wanted else {}
    if missing := wanted - found.keys():
        raise InputError(
            f"export: the weights with SHA-256 {min(missing)[:12]}, of a row that was asked for, are not here"
        )
    return [found[sha256] for sha256 in sorted(wanted)]


def _counted(members: Counter[str]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(members.items())) or "nothing"
