"""The rows of a table: those of the journal, and, for jobs that were not run here, those committed in results/."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from replication.harness.job import Job
from replication.harness.journal import MEASURED, Journal, Record
from replication.types import InputError

# beside what is measured; all other columns are text: a commit may look like 1e5
NUMBERS = (
    "sampling.steps",
    "sampling.nfe",
    "protocol.n",
    "first_stage.f",
    "first_stage.parameters",
    "first_stage.scale",
)


def rows_of(jobs: Sequence[Job], journal: Journal, committed: Path | None = None) -> dict[str, Record]:
    """Row by key, in the table's order, for jobs that have one. Raises InputError for a damaged file.

    Committed rows count only where the journal has none at all: two machines' times make no table.
    """
    found = {job.key: journal.read(job.key) for job in jobs}
    if committed and committed.exists() and not any(found.values()):
        known = {record["cell"]: record for record in read_csv(committed)}
        found = {job.key: known.get(job.key) for job in jobs}
    return {key: record for key, record in found.items() if record is not None}


def csv_text(records: Sequence[Record]) -> str:
    """One line per record; numbers as JSON writes them, so that reading gives the same floats."""
    columns = list(dict.fromkeys(column for record in records for column in record))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([exact_text(record.get(column)) for column in columns] for record in records)
    return text.getvalue()


def read_csv(path: Path) -> list[Record]:
    """The records of a file of `csv_text`; raises InputError for any other file."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            columns = next(lines, [])
            if "cell" not in columns:
                raise ValueError("there is no column 'cell'")
            readers = [json.loads if column in NUMBERS or column.startswith(MEASURED) else str for column in columns]
            return [
                {column: read(text) for column, read, text in zip(columns, readers, line, strict=True) if text}
                for line in lines
            ]
    except (ValueError, OSError, csv.Error) as error:
        raise InputError(f"{path}: not a table of rows ({error}); restore it or delete it") from error


def exact_text(value: Any) -> str:
    """A value as the CSV has it: numbers as JSON writes them."""
    if isinstance(value, str):
        return value
    return "" if value is None else repr(value) if isinstance(value, float) else json.dumps(value)
