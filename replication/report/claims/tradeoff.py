"""A trade-off: so much of the quality at so much of the speed.

"80 % of the quality" has no single meaning, so it is judged under each of them; the verdict often turns on the choice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from replication.harness.claim import Point, Range, TradeOffClaim
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import NotTested, Verdict


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
    Definition("{title} ratio", "reference / candidate", "metric.fd", lambda c, r, b: r / c),
    Definition("{title} ratio", "candidate / reference", "metric.is", lambda c, r, b: c / r),
    Definition("{title} gap closed", "(baseline - candidate) / (baseline - reference)", "metric.fd", _gap),
    Definition("{title} gap closed", "(baseline - candidate) / (baseline - reference)", "metric.kid", _gap),
    Definition("speed in {title}", "reference / candidate", "sampling.nfe", lambda c, r, b: r / c, True),
)
MEASURED_SPEED = Definition("speed, measured", "reference / candidate", "", lambda c, r, b: r / c, True)


def judge_tradeoff(claim: TradeOffClaim, evidence: Evidence) -> list[Verdict]:
    """One verdict per definition of quality and of speed."""
    definitions = (*DEFINITIONS, replace(MEASURED_SPEED, column=claim.seconds))
    return [_verdict(definition, claim, evidence) for definition in definitions]


def _verdict(d: Definition, claim: TradeOffClaim, evidence: Evidence) -> Verdict:
    points = (claim.candidate, claim.reference, claim.baseline)
    threshold = (claim.speed if d.of_speed else claim.quality) * (1 - claim.tolerance)
    name = d.name.format(title=evidence.title(d.column, claim.candidate))
    reading = Reading(name, d.formula, Range(low=threshold), d.value, _published(d, points, evidence))
    return reading.verdict([(point, d.column) for point in points], claim, evidence)


def _published(d: Definition, points: Sequence[Point], evidence: Evidence) -> float | None:
    """The definition applied to what the papers print for the same three cells, if they print all of them."""
    metric = d.column.removeprefix("metric.")
    found: list[np.ndarray] = []
    for point in points:
        values = _printed(metric, point, evidence)
        if not values:
            return None
        found.append(np.asarray(values[0]))
    return float(d.value(*found))


def _printed(metric: str, point: Point, evidence: Evidence) -> list[float]:
    """What the papers print of a metric for a point, in any profile."""
    try:
        experiment = evidence.table(point).experiment
    except NotTested:
        return []
    return [
        published.value
        for profile in experiment.profiles.values()
        for row in profile.rows
        if row.label == point.label
        for published in experiment.published(row)
        if published.steps == point.steps and published.metric == metric
    ]
