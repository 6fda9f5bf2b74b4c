"""The rows of a table: those of the journal, and, for cells that were not run here, those committed in results/."""

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
    """One line per row; numbers as JSON writes them, so that reading gives the same floats. Atomic; raises RunError."""
    columns = dict.fromkeys(column for record in rows.values() for column in record)
    lines = [{column: _text(record.get(column)) for column in columns} for record in rows.values()]
    text = pd.DataFrame(lines, columns=list(columns)).to_csv(index=False, lineterminator="\n")
    write_atomically(path, text.encode())


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
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _value(column: str, text: str) -> Any:
    return json.loads(text) if column in NUMBERS or column.startswith(NUMBER_GROUPS) else text
