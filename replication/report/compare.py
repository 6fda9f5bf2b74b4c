"""Two rows side by side: each figure's difference with its interval, for rows that may be compared at all."""

import math
from collections.abc import Mapping, Sequence

from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.metrics.proportion import Z95
from replication.registry import unknown
from replication.report.comparable import check_comparable, differences
from replication.report.tables import markdown
from replication.types import InputError


def find_row(name: str, cells: Sequence[Cell], rows: Mapping[str, Record]) -> Record:
    """The row of `LABEL:STEPS`; raises InputError for a cell that there is not, or that has not been run."""
    label, _, steps = name.rpartition(":")
    valid = {f"{cell.label}:{cell.sampling.steps}": cell for cell in cells}
    if name not in valid:
        raise unknown("row", name, list(valid))
    if valid[name].key not in rows:
        raise InputError(f"{label} x {steps} of {valid[name].experiment} has not been run in this profile")
    return rows[valid[name].key]


def comparison(a: Record, b: Record, labels: Mapping[str, str], unequal: bool = False) -> str:
    """A Markdown table of the figures that both rows have, and a note where they are of unequal protocols.

    The rows' errors count as independent; they share their reference, so the interval of the difference is if anything
    too wide. Raises InputError for rows that may not be compared, unless `unequal` asks for it.
    """
    mark = check_comparable([a, b], unequal)
    shared = [key for key in labels if f"metric.{key}_se" in a and f"metric.{key}_se" in b]
    lines = [[labels[key] + mark, *_line(a, b, f"metric.{key}")] for key in shared]
    one, other = (f"{r['experiment']}: {r['label']} x {r['sampling.steps']}" for r in (a, b))
    table = markdown(["figure", one, other, "difference [95 %]", "so"], lines)
    return table + (f"\n\n{mark} unequal: {'; '.join(differences(a, b))}" if mark else "")


def _line(a: Record, b: Record, column: str) -> list[str]:
    difference = b[column] - a[column]
    half = Z95 * math.hypot(a[f"{column}_se"], b[f"{column}_se"])
    low, high = difference - half, difference + half
    word = "higher" if low > 0 else "lower" if high < 0 else "no difference seen"
    return [f"{a[column]:.4g}", f"{b[column]:.4g}", f"{difference:+.3g} [{low:+.3g}, {high:+.3g}]", word]
