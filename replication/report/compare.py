"""Which rows may be compared, and two of them side by side: each figure's difference with its interval.

Only figures of equal n, extractor and reference are comparable: rows that differ in one of FIELDS are refused, and so is a
metric at two versions of its code. What made the images, and is left to a protocol, is in ALSO: rows may be compared
because of it, and the comparison names it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.harness.versions import COLUMN, unequal_version, version_of
from replication.metrics.uncertainty import Z95, Replicates, compared
from replication.registry import unknown
from replication.report.tables import MARK, Table
from replication.types import InputError

# in one of which rows differ that are refused: column -> its name
FIELDS = {
    "protocol.n": "n",
    "protocol.extractor": "extractor",
    "protocol.extractor_sha256": "extractor weights",
    "protocol.reference": "reference",
    "protocol.preprocessing": "preprocessing",
    "protocol.drop_last": "reference batches",
    "profile": "profile",
}

# in which compared rows may differ, and the comparison names it
ALSO = {
    "protocol.ema": "ema",
    "protocol.quantizer": "quantizer",
    "protocol.precision": "precision",
    "protocol.seeds": "seeds",
    "protocol.labels": "labels",
    "protocol.nll_images": "NLL images",
    "version.sampling": "version of the sampling loop",
    "version.guidance": "version of guidance",
    "version.quantizer": "version of the quantizer",
    "version.interval": "version of the intervals",
}


def differences(a: Record, b: Record, columns: Iterable[str] = ()) -> list[str]:
    """In which of FIELDS these two rows differ, each with both values: "n 500 against 1797"; empty if they may be compared.

    The metrics of `columns` count too, where the two rows have them from different versions of their code.
    """
    versions = dict.fromkeys(unequal_version(a, b, column) for column in columns)
    unequal = [f"{name} {a.get(key)} against {b.get(key)}" for key, name in FIELDS.items() if a.get(key) != b.get(key)]
    return [*unequal, *filter(None, versions)]


def named_differences(a: Record, b: Record) -> list[str]:
    """In which of ALSO they differ: "ema (true, false)". A row without a field, as an unguided one, has no say in it."""
    both = {name: (_field(a, key), _field(b, key)) for key, name in ALSO.items()}
    return [
        f"{name} ({one}, {other})" for name, (one, other) in both.items() if None not in (one, other) and one != other
    ]


def _field(record: Record, column: str) -> Any:
    """The row's entry; rows from before there were versions have 1."""
    return version_of(record, column.removeprefix(COLUMN)) if column.startswith(COLUMN) else record.get(column)


def find_row(name: str, cells: Sequence[Cell], rows: Mapping[str, Record]) -> Record:
    """The row of `LABEL:STEPS`; raises InputError for a cell that there is not, or that has not been run."""
    valid = {f"{cell.label}:{cell.sampling.steps}": cell for cell in cells}
    if name not in valid:
        raise unknown("row", name, list(valid))
    if valid[name].key not in rows:
        raise InputError(f"{valid[name].title} of {valid[name].experiment} has not been run in this profile")
    return rows[valid[name].key]


def comparison(
    a: Record,
    b: Record,
    labels: Mapping[str, str],
    unequal: bool = False,
    replicates: Mapping[str, Replicates] | None = None,
) -> str:
    """A Markdown table of the figures that both rows have, and below it in what else their protocols differ.

    Where both rows have replicates (by record["cell"]) of one stream, the interval is that of the joint draws: what the rows
    owe to common noise and a common reference cancels, and their correlation is printed. Else their errors count as
    independent, and the interval is if anything too wide. Raises InputError for rows that may not be compared, unless
    `unequal` asks for it; figures of two versions of a metric are not compared in any case.
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
            figures = [f"{a[column]:.4g}", f"{b[column]:.4g}"]
            lines.append([label + mark, *figures, *_difference(a, b, column, replicates or {})])
    table = Table(["figure", one, other, "difference [95 %]", "so", "paired"], lines)
    also = ", ".join(named_differences(a, b))
    notes = [f"{mark} unequal: {found}"] * bool(found) + [f"the rows differ also in {also}"] * bool(also)
    return "\n\n".join([str(table), *notes])


def _difference(a: Record, b: Record, column: str, replicates: Mapping[str, Replicates]) -> tuple[str, str, str]:
    """That of one figure with its interval, what follows from it, and how the two rows' errors are correlated."""
    if unequal := unequal_version(a, b, column):
        return "", f"not compared: {unequal}", ""
    difference = b[column] - a[column]
    kept = [replicates.get(row.get("cell", "")) for row in (a, b)]
    joint = [found.joint(column) for found in kept if found is not None]
    drawn = [replicates for replicates in joint if replicates is not None]
    if len(drawn) < 2 or len({found.stream for found in kept if found is not None}) > 1:
        half = Z95 * math.hypot(a[f"{column}_se"], b[f"{column}_se"])
        low, high, paired = difference - half, difference + half, "no: other draws" if len(drawn) == 2 else "no"
    else:
        pair = compared((a[column], b[column]), (drawn[0], drawn[1]))
        (_, low, high), paired = pair.difference, "" if pair.correlation is None else f"r = {pair.correlation:.3f}"
    word = "higher" if low > 0 else "lower" if high < 0 else "no difference seen"
    return f"{difference:+.3g} [{low:+.3g}, {high:+.3g}]", word, paired
