"""The rows of a table: those of the journal, and, for cells that were not run here, those committed in results/."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from replication.files import write_atomically
from replication.harness.cell import Cell
from replication.harness.journal import Journal, Record
from replication.types import InputError

NUMBER_GROUPS = ("metric.", "timing.")
NUMBERS = ("sampling.steps", "sampling.nfe", "protocol.n")  # all other columns are text: a commit may look like 1e5


def rows_of(cells: Sequence[Cell], journal: Journal, committed: Path | None = None) -> dict[str, Record]:
    """Row by cell key, in the table's order, for cells that have one. Raises InputError for a damaged file.

    Committed rows count only where the journal has none at all: two machines' times make no table.
    """
    found = {cell.key: journal.read(cell.key) for cell in cells}
    if committed and committed.exists() and not any(found.values()):
        known = {record["cell"]: record for record in read_csv(committed)}
        found = {cell.key: known.get(cell.key) for cell in cells}
    return {key: record for key, record in found.items() if record is not None}


def write_csv(rows: Mapping[str, Record], path: Path) -> None:
    """One line per row. Atomic; raises RunError."""
    write_atomically(path, csv_text(list(rows.values())).encode())


def csv_text(records: Sequence[Record]) -> str:
    """One line per record; numbers as JSON writes them, so that reading gives the same floats."""
    columns = list(dict.fromkeys(column for record in records for column in record))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_text(record.get(column)) for column in columns] for record in records)
    return text.getvalue()


def read_csv(path: Path) -> list[Record]:
    """What `write_csv` wrote; raises InputError for a file that it did not."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if "cell" not in table.columns:
            raise ValueError("there is no column 'cell'")
        return [{str(c): _value(str(c), v) for c, v in line.items() if v != ""} for line in table.to_dict("records")]
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a table of rows ({error}); restore it or delete it") from error


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    # what JSON writes of a float, without its detours
    return "" if value is None else repr(value) if isinstance(value, float) else json.dumps(value)


def _value(column: str, text: str) -> Any:
    return json.loads(text) if column in NUMBERS or column.startswith(NUMBER_GROUPS) else text
