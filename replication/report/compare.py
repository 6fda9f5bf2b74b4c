"""Which rows may be compared, and two of them side by side: each figure's difference with its interval.

Only figures of equal n, extractor and reference are comparable: rows that differ in one of FIELDS are refused, and so is a
metric at two versions of its code. Rows whose images or intervals come from two versions of the code are marked. What else
made the images, and is left to a protocol, is in ALSO: rows may be compared because of it, and the comparison names it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.harness.versions import COLUMN, metric_of, unequal_version, version_of
from replication.metrics.metric import metric_named
from replication.metrics.uncertainty import Z95, Joint, Replicates, joint_intervals
from replication.registry import one_of
from replication.report.tables import MARK, Table
from replication.types import InputError

PER_FEATURE = 100  # images for each feature, from which on the bias of FD (about D / n of its scale) does not decide
OF_BIAS = {"protocol.n": "n", "protocol.reference_n": "reference n", "protocol.features": "D"}

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
}

# of what rows may have two versions, and the comparison is marked
VERSIONS = {
    "version.sampling": "version of the sampling loop",
    "version.guidance": "version of guidance",
    "version.quantizer": "version of the quantizer",
    "version.interval": "version of the intervals",
}

# what rows must share besides their stream, for the images that it counts to be the same
SAME_IMAGES = (
    "recipe.dataset", "protocol.reference", "protocol.preprocessing", "protocol.drop_last", "protocol.extractor_sha256",
)  # fmt: skip


class Resampled(NamedTuple):
    """A row, its replicates where they are kept, and in which versions it is not today's (harness/versions.py)."""

    record: Record
    replicates: Replicates | None = None
    changes: Mapping[str, tuple[int, int]] = {}

    def joint(self, column: str) -> tuple[str, Tensor] | None:
        """Replicates of a figure [R], joint with those of other rows that have the same text; None without any."""
        if self.replicates is None or (found := self.replicates.joint(column)) is None:
            return None
        return " ".join([self.replicates.stream, *(str(self.record.get(field)) for field in SAME_IMAGES)]), found


def differences(records: Sequence[Record]) -> list[str]:
    """In which of FIELDS rows differ, each with all values: "n 500 against 1797"; empty if they may be compared."""
    values = {name: dict.fromkeys(record.get(key) for record in records) for key, name in FIELDS.items()}
    return [f"{name} {' against '.join(map(str, found))}" for name, found in values.items() if len(found) > 1]


def named_differences(records: Sequence[Record], fields: Mapping[str, str] = ALSO) -> list[str]:
    """In which of these fields they differ: "ema (true, false)". A row without one, as an unguided one, has no say in it."""
    found = []
    for column, name in fields.items():
        # rows from before there were versions have 1
        of = version_of if column.startswith(COLUMN) else Record.get
        values = dict.fromkeys(of(record, column.removeprefix(COLUMN)) for record in records)
        if len(shown := [str(value) for value in values if value is not None]) > 1:
            found.append(f"{name} ({', '.join(shown)})")
    return found


def bias_decides(records: Iterable[Record], column: str) -> str:
    """Why nothing follows from a column: it is of a biased metric, and one of the rows of few images. Empty if something does.

    The bias is about the same in every row, so that it pulls ratios towards 1, and hides which of two is better.
    """
    metric = metric_of(column)
    if metric is None or not metric_named(metric).biased:
        return ""
    for record in records:
        stated: dict[str, Any] = {name: record.get(key) for key, name in OF_BIAS.items()}
        *images, width = stated.values()
        if None in stated.values() or min(images) < PER_FEATURE * width:
            here = (f"{name} is not stated" if of is None else f"{name} = {of:,}" for name, of in stated.items())
            return (
                f"{column} judges from {PER_FEATURE} images a feature on, generated and real, or its bias does: here "
                f"{', '.join(here)}; take metric.fd_infinity or metric.kid"
            )
    return ""


def joint(one: Resampled, other: Resampled, column: str) -> Joint | None:
    """A figure of two rows from the same resamples; None where they have none. There is no ratio where bias decides."""
    first, second = one.joint(column), other.joint(column)
    if first is None or second is None or first[0] != second[0]:
        return None
    a, b = one.record, other.record
    found = joint_intervals((a[column], b[column]), (first[1], second[1]))
    return found._replace(ratio=None) if bias_decides([a, b], column) else found


def find_row(name: str, cells: Sequence[Cell], rows: Mapping[str, Record]) -> Record:
    """The row of `LABEL:STEPS`; raises InputError for a cell that there is not, or that has not been run."""
    valid = {f"{cell.label}:{cell.sampling.steps}": cell for cell in cells}
    cell = valid[one_of("row", name, valid)]
    if cell.key not in rows:
        raise InputError(f"{cell.title} of {cell.experiment} has not been run in this profile")
    return rows[cell.key]


def compared(
    a: Record,
    b: Record,
    labels: Mapping[str, str],
    unequal: bool = False,
    replicates: Mapping[str, Replicates] | None = None,
) -> Table:
    """The figures that both rows have, with notes on in what else their protocols differ.

    Where both rows have replicates (by record["cell"]) of one stream and of the same images, the interval is that of the joint
    draws: what the rows owe to common noise and a common reference cancels, and their correlation is printed. Else their
    errors count as independent, and the interval is if anything too wide. Where the bias of few images decides, nothing
    follows from the difference. Raises InputError for rows that may not be compared, unless `unequal` asks for it; figures of
    two versions of a metric are not compared in any case.
    """
    one, other = (f"{r['experiment']}: {r['label']} x {r['sampling.steps']}" for r in (a, b))
    if (refused := differences([a, b])) and not unequal:
        raise InputError(f"{one} and {other} can't be compared: {'; '.join(refused)}; --unequal asks for it")
    rows = [Resampled(row, (replicates or {}).get(row.get("cell", ""))) for row in (a, b)]
    found = "; ".join([*refused, *named_differences([a, b], VERSIONS)])
    mark = MARK if found else ""
    lines, biased = [], list[str]()
    for key, label in labels.items():
        column, error = f"metric.{key}", f"metric.{key}_se"
        if error in a and error in b:
            figures = [f"{a[column]:.4g}", f"{b[column]:.4g}"]
            difference, word, paired = _difference(rows[0], rows[1], column)
            if difference and (why := bias_decides([a, b], column)):
                word, biased = "", [*biased, why]
            lines.append([label + mark, *figures, difference, word, paired])
    also = ", ".join(named_differences([a, b]))
    notes = [*biased, *([f"{mark} unequal: {found}"] if found else [])]
    notes += [f"the rows differ also in {also}"] if also else []
    return Table(["figure", one, other, "difference [95 %]", "so", "paired"], lines, notes=notes)


def _difference(one: Resampled, other: Resampled, column: str) -> tuple[str, str, str]:
    """That of one figure with its interval, what follows from it, and how the two rows' errors are correlated."""
    a, b = one.record, other.record
    if unequal := unequal_version([a, b], column):
        return "", f"not compared: {unequal}", ""
    difference = b[column] - a[column]
    if (pair := joint(one, other, column)) is None:
        half = Z95 * math.hypot(a[f"{column}_se"], b[f"{column}_se"])
        low, high = difference - half, difference + half
        paired = "no: other draws" if one.joint(column) and other.joint(column) else "no"
    else:
        (_, low, high), paired = pair.difference, "" if pair.correlation is None else f"r = {pair.correlation:.3f}"
    word = "higher" if low > 0 else "lower" if high < 0 else "no difference seen"
    return f"{difference:+.3g} [{low:+.3g}, {high:+.3g}]", word, paired
