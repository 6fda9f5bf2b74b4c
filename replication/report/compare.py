"""Which rows may be compared, and two of them side by side: each figure's difference with its interval.

Only figures of equal n, extractor and reference are comparable.
"""

import math
from collections.abc import Mapping, Sequence

from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.metrics.uncertainty import Z95
from replication.registry import unknown
from replication.report.tables import MARK, Table
from replication.types import InputError

FIELDS = {
    "protocol.n": "n",
    "protocol.extractor": "extractor",
    "protocol.extractor_sha256": "extractor weights",
    "protocol.reference": "reference",
    "protocol.preprocessing": "preprocessing",
    "protocol.drop_last": "reference batches",
    "profile": "profile",
}


def differences(a: Record, b: Record) -> list[str]:
    """In which of these two rows differ, each with both values: "n 500 against 1797"; empty if they may be compared."""
    return [f"{name} {a.get(key)} against {b.get(key)}" for key, name in FIELDS.items() if a.get(key) != b.get(key)]


def find_row(name: str, cells: Sequence[Cell], rows: Mapping[str, Record]) -> Record:
    """The row of `LABEL:STEPS`; raises InputError for a cell that there is not, or that has not been run."""
    valid = {f"{cell.label}:{cell.sampling.steps}": cell for cell in cells}
    if name not in valid:
        raise unknown("row", name, list(valid))
    if valid[name].key not in rows:
        raise InputError(f"{valid[name].title} of {valid[name].experiment} has not been run in this profile")
    return rows[valid[name].key]


def comparison(a: Record, b: Record, labels: Mapping[str, str], unequal: bool = False) -> str:
    """A Markdown table of the figures that both rows have, and a note where they are of unequal protocols.

    The rows' errors count as independent; they share their reference, so the interval of the difference is if anything
    too wide. Raises InputError for rows that may not be compared, unless `unequal` asks for it.
    """
    one, other = (f"{r['experiment']}: {r['label']} x {r['sampling.steps']}" for r in (a, b))
    found = "; ".join(differences(a, b))
    if found and not unequal:
        raise InputError(f"{one} and {other} can't be compared: {found}; --unequal asks for it")
    mark = MARK if found else ""
    lines = []
    for key, label in labels.items():
        column, error = f"metric.{key}", f"metric.{key}_se"
        if error in a and error in b:
            difference, half = b[column] - a[column], Z95 * math.hypot(a[error], b[error])
            low, high = difference - half, difference + half
            word = "higher" if low > 0 else "lower" if high < 0 else "no difference seen"
            interval = f"{difference:+.3g} [{low:+.3g}, {high:+.3g}]"
            lines.append([label + mark, f"{a[column]:.4g}", f"{b[column]:.4g}", interval, word])
    table = Table(["figure", one, other, "difference [95 %]", "so"], lines)
    return f"{table}\n\n{mark} unequal: {found}" if mark else str(table)
