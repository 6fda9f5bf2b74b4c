"""Verdicts: a claim's numbers, each with its interval, against what the claim says.

"80 % of the quality" has no single meaning, so it is judged under each of them; the verdict often turns on the choice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from replication.harness.cell import Cell
from replication.harness.experiment import PROFILES, Claim, Experiment, Point
from replication.harness.journal import Record
from replication.registry import EXTRACTORS
from replication.report.tables import markdown

Word = Literal["supported", "refuted", "inconclusive", "not tested"]
DRAWS = 20_000
Z95 = 1.959964


@dataclass(frozen=True)
class Definition:
    """One meaning of a claim: a function of the (candidate, reference, baseline) values of a column."""

    name: str
    formula: str
    column: str
    value: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    of_speed: bool = False


def _gap(c: np.ndarray, r: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (b - c) / (b - r)


DEFINITIONS = (
    Definition("{fd} ratio", "reference / candidate", "metric.fd", lambda c, r, b: r / c),
    Definition("{is} ratio", "candidate / reference", "metric.is", lambda c, r, b: c / r),
    Definition("{fd} gap closed", "(baseline - candidate) / (baseline - reference)", "metric.fd", _gap),
    Definition("{kid} gap closed", "(baseline - candidate) / (baseline - reference)", "metric.kid", _gap),
    Definition("speed in NFE", "reference / candidate", "sampling.nfe", lambda c, r, b: r / c, True),
    Definition("speed, measured", "reference / candidate", "timing.seconds_per_image", lambda c, r, b: r / c, True),
)


@dataclass(frozen=True)
class Verdict:
    """What one definition says: value with its 95 % interval, what the claim needs, and the same of the paper's numbers."""

    definition: str
    formula: str
    value: float | None
    low: float | None
    high: float | None
    needed: float
    published: float | None
    word: Word


def judge(
    claim: Claim, experiment: Experiment, profile: str, cells: Sequence[Cell], rows: Mapping[str, Record]
) -> list[Verdict]:
    """One verdict per definition. Below the claim's minimum profile, or without the rows, it is "not tested"."""
    tested = PROFILES.index(profile) >= PROFILES.index(claim.minimum_profile)
    points = (claim.candidate, claim.reference, claim.baseline)
    records = [_record(point, cells, rows) for point in points]
    labels = cells[0].protocol.extractor.build(EXTRACTORS).labels
    return [
        _verdict(d, claim, labels, records if tested else [None], _published(d, experiment, points))
        for d in DEFINITIONS
    ]


def _verdict(
    d: Definition, claim: Claim, labels: Mapping[str, str], records: Sequence[Record | None], published: float | None
) -> Verdict:
    needed = (claim.speed if d.of_speed else claim.quality) * (1 - claim.tolerance)
    name = d.name.format(**labels)
    present = [r for r in records if r is not None]
    if len(present) < 3:
        return Verdict(name, d.formula, None, None, None, needed, published, "not tested")
    values = [np.asarray(float(r[d.column])) for r in present]
    value = float(d.value(*values))
    # the interval: each figure redrawn within its own standard error, which no formula has to linearise
    generator = np.random.default_rng(0)
    draws = d.value(
        *(v + _error(d.column, r) * generator.standard_normal(DRAWS) for v, r in zip(values, present, strict=True))
    )
    low, high = (float(q) for q in np.quantile(draws, [0.025, 0.975]))
    word: Word = "supported" if low >= needed else "refuted" if high < needed else "inconclusive"
    return Verdict(name, d.formula, value, low, high, needed, published, word)


def _error(column: str, record: Record) -> float:
    """The standard error of a row's figure; NFE has none, and seconds carry the range over chunks."""
    if column == "timing.seconds_per_image":
        return (record["timing.seconds_high"] - record["timing.seconds_low"]) / (2 * Z95)
    return float(record.get(f"{column}_se", 0.0))


def _record(point: Point, cells: Sequence[Cell], rows: Mapping[str, Record]) -> Record | None:
    for cell in cells:
        if cell.label == point.label and cell.sampling.steps == point.steps:
            return rows.get(cell.key)
    return None


def _published(d: Definition, experiment: Experiment, points: Sequence[Point]) -> float | None:
    """The definition applied to what the papers print for the same three cells, if they print all of them."""
    metric = d.column.removeprefix("metric.")
    found: list[np.ndarray] = []
    for point in points:
        values = [
            published.values[row.steps.index(point.steps)]
            for profile in experiment.profiles.values()
            for row in profile.rows
            for published in row.published
            if row.label == point.label and point.steps in row.steps and published.metric == metric
        ]
        if not values:
            return None
        found.append(np.asarray(values[0]))
    return float(d.value(*found))


def markdown_verdicts(claim: Claim, verdicts: Sequence[Verdict]) -> str:
    """The claim, its verdicts as a table, and one sentence on what they hang on."""
    lines = [[v.definition, v.formula, _value(v), f"{v.needed:.3g}", _number(v.published), v.word] for v in verdicts]
    columns = ["definition", "formula", "measured [95 %]", "needed", "papers' own numbers", "verdict"]
    names = {
        w: [v.definition for v in verdicts if v.word == w]
        for w in ("supported", "refuted", "inconclusive", "not tested")
    }
    tally = "; ".join(
        f"{word} by {', '.join(of)}" if word != "not tested" else f"not tested: {', '.join(of)}"
        for word, of in names.items()
        if of
    )
    turns = "The verdict turns on the definition: " if names["supported"] and names["refuted"] else ""
    cells = ", ".join(
        f"{role} {p.label} x {p.steps}"
        for role, p in (("candidate", claim.candidate), ("reference", claim.reference), ("baseline", claim.baseline))
    )
    return (
        f"**Claim `{claim.name}`**: {claim.statement} ({claim.citation}).\n\n"
        f"Read as: at least that quality and that speed, within {claim.tolerance:.0%}. Cells: {cells}.\n\n"
        f"{markdown(columns, lines)}\n\n{turns}{tally}.\n"
    )


def _value(v: Verdict) -> str:
    return "" if v.value is None else f"{v.value:.3g} [{v.low:.3g}, {v.high:.3g}]"


def _number(value: float | None) -> str:
    return "not published" if value is None else f"{value:.3g}"
