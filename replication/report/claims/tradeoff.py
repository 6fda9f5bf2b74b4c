"""A trade-off: so much of the quality at so much of the speed.

"80 % of the quality" has no single meaning, so it is judged under each of them; the verdict often turns on the choice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from replication.harness.claim import Point, TradeOffClaim
from replication.harness.experiment import Experiment
from replication.harness.journal import Record
from replication.registry import EXTRACTORS
from replication.report.claims.verdict import Evidence, Verdict, at_least

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


def judge_tradeoff(claim: TradeOffClaim, evidence: Evidence) -> list[Verdict]:
    """One verdict per definition of quality and of speed."""
    points = (claim.candidate, claim.reference, claim.baseline)
    found = [_record(point, evidence) for point in points] if evidence.suffices(claim) else []
    records = [record for record in found if record is not None]
    labels = evidence.cells[0].protocol.extractor.build(EXTRACTORS).labels
    return [_verdict(d, claim, labels, records, _published(d, evidence.experiment, points)) for d in DEFINITIONS]


def _verdict(
    d: Definition, claim: TradeOffClaim, labels: Mapping[str, str], records: Sequence[Record], published: float | None
) -> Verdict:
    threshold = (claim.speed if d.of_speed else claim.quality) * (1 - claim.tolerance)
    name, needed = d.name.format(**labels), f"at least {threshold:.3g}"
    if len(records) < 3 or any(d.column not in record for record in records):
        return Verdict(name, d.formula, None, None, None, needed, published, "not tested")
    values = [np.asarray(float(record[d.column])) for record in records]
    # the interval: each figure redrawn within its own standard error, which no formula has to linearise
    generator = np.random.default_rng(0)
    draws = d.value(*(_redrawn(d.column, record, generator) for record in records))
    low, high = (float(q) for q in np.quantile(draws, [0.025, 0.975]))
    # fewer than five chunks don't bound a median
    measured = d.column != "timing.seconds_per_image" or min(record["timing.chunks"] for record in records) >= 5
    word = at_least(threshold, low, high) if measured else "inconclusive"
    return Verdict(name, d.formula, float(d.value(*values)), low, high, needed, published, word)


def _redrawn(column: str, record: Record, generator: np.random.Generator) -> np.ndarray:
    """DRAWS values of a figure; all but KID are positive and vary by a factor, which the log scale respects."""
    value, noise = float(record[column]), generator.standard_normal(DRAWS)
    error = _error(column, record)
    return value + error * noise if column == "metric.kid" else value * np.exp(error / value * noise)


def _error(column: str, record: Record) -> float:
    """The standard error of a row's figure; NFE has none, and seconds carry the range over chunks."""
    if column == "timing.seconds_per_image":
        return (record["timing.seconds_high"] - record["timing.seconds_low"]) / (2 * Z95)
    return float(record.get(f"{column}_se", 0.0))


def _record(point: Point, evidence: Evidence) -> Record | None:
    for cell in evidence.cells:
        if cell.label == point.label and cell.sampling.steps == point.steps:
            return evidence.rows.get(cell.key)
    return None


def _published(d: Definition, experiment: Experiment, points: Sequence[Point]) -> float | None:
    """The definition applied to what the papers print for the same three cells, if they print all of them."""
    metric = d.column.removeprefix("metric.")
    found: list[np.ndarray] = []
    for point in points:
        values = [
            published.value
            for profile in experiment.profiles.values()
            for row in profile.rows
            if row.label == point.label
            for published in experiment.published(row)
            if published.steps == point.steps and published.metric == metric
        ]
        if not values:
            return None
        found.append(np.asarray(values[0]))
    return float(d.value(*found))
