"""A trade-off: so much of the quality at so much of the speed.

"80 % of the quality" has no single meaning, so it is judged under each of them; the verdict often turns on the choice.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from replication.harness.claim import Range, TradeOffClaim
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Verdict


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
    Definition("speed, measured", "reference / candidate", "timing.seconds_per_image", lambda c, r, b: r / c, True),
)


def judge_tradeoff(claim: TradeOffClaim, evidence: Evidence) -> list[Verdict]:
    """One verdict per definition of quality and of speed."""
    return [_verdict(definition, claim, evidence) for definition in DEFINITIONS]


def _verdict(d: Definition, claim: TradeOffClaim, evidence: Evidence) -> Verdict:
    points = (claim.candidate, claim.reference, claim.baseline)
    threshold = (claim.speed if d.of_speed else claim.quality) * (1 - claim.tolerance)
    name = d.name.format(title=evidence.title(d.column, claim.candidate))
    reading = Reading(name, d.formula, Range(low=threshold), d.value)
    return reading.verdict([(point, d.column) for point in points], claim, evidence)
