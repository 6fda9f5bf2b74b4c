"""The rows of a table: those of the journal, and, for jobs that were not run here, those committed in results/."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from replication.harness.job import Job, rows_among
from replication.harness.journal import MEASURED, Journal, Record
from replication.harness.replicates import load_replicates, replicates_of_row
from replication.harness.versions import COLUMN
from replication.metrics.uncertainty import Replicates
from replication.types import InputError

WRITTEN = {str, float, int, type(None)}  # what a writer of CSV writes as `exact_text` does, and faster
# beside what is measured; all other columns are text: a commit may look like 1e5
NUMBERS = (
    "sampling.steps",
    "sampling.nfe",
    "protocol.n",
    "protocol.features",
    "protocol.reference_n",
    "first_stage.f",
    "first_stage.parameters",
    "first_stage.scale",
)


def rows_of(jobs: Sequence[Job], journal: Journal, committed: Path | None = None) -> dict[str, Record]:
    """Row by its job's key, in the table's order, for jobs that have one. Raises InputError for a damaged file.

    A row of earlier versions stands in for one of today's that is not there: `Job.changes` has what it differs in.
    Committed rows count only where the journal has none at all: two machines' times make no table.
    """
    found = rows_among(jobs, journal.rows())
    if committed and committed.exists() and not found:
        return rows_among(jobs, read_csv(committed))
    return found


def replicates_of(rows: Mapping[str, Record], journal: Journal, committed: Path) -> dict[str, Replicates]:
    """By the row's own key, "cell", those of `rows_of`, from where each row comes; raises InputError for a wrong file."""
    path, journalled = replicates_beside(committed), set(journal.done())
    known = load_replicates(path) if path.exists() else {}
    found = {
        (key := record["cell"]): journal.replicates(record)
        if key in journalled
        else replicates_of_row(record, path, known)
        for record in rows.values()
    }
    return {key: replicates for key, replicates in found.items() if replicates is not None}


def replicates_beside(table: Path) -> Path:
    """The file with the replicates of a committed table's rows."""
    return table.with_name(f"{table.stem}-replicates.safetensors")


def csv_text(records: Sequence[Record]) -> str:
    """One line per record; numbers as JSON writes them, so that reading gives the same floats."""
    columns = list(dict.fromkeys(chain.from_iterable(records)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    lines = ([*map(record.get, columns)] for record in records)
    writer.writerows(line if WRITTEN.issuperset(map(type, line)) else map(exact_text, line) for line in lines)
    return text.getvalue()


def read_csv(path: Path) -> list[Record]:
    """The records of a file of `csv_text`; raises InputError for any other file."""
    try:
        return records_in(path.read_bytes().decode("utf-8-sig"), path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a table of rows ({error}); restore it or delete it") from error


def records_in(text: str, where: Path | str) -> list[Record]:
    """The records of a text of `csv_text`; raises InputError that names `where` it is from for any other text."""
    try:
        lines = csv.reader(io.StringIO(text, newline=""))
        columns = next(lines, [])
        if "cell" not in columns:
            raise ValueError("there is no column 'cell'")
        readers = [
            _number if column in NUMBERS or column.startswith((*MEASURED, COLUMN)) else str for column in columns
        ]
        return [
            {column: read(text) for column, read, text in zip(columns, readers, line, strict=True) if text}
            for line in lines
        ]
    except (ValueError, csv.Error) as error:
        raise InputError(f"{where}: not a table of rows ({error}); restore it or delete it") from error


def _number(text: str) -> Any:
    return float(text) if text in ("inf", "-inf", "nan") else json.loads(text)


def exact_text(value: Any) -> str:
    """A value as the CSV has it: numbers as JSON writes them."""
    if isinstance(value, str):
        return value
    if type(value) in (float, int):
        return repr(value)
    return "" if value is None else json.dumps(value)
