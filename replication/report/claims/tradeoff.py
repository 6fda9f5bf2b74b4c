"""A trade-off: so much of the quality at so much of the speed.

"80 % of the quality" has no single meaning, so it is judged under each of them; the verdict often turns on the choice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import PositiveFloat

from replication.registry import CLAIMS
from replication.report.claims.claim import OnRows, Point
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Range, Verdict


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


@CLAIMS.register("tradeoff")
class TradeOff(OnRows):
    """`candidate` has at least `quality` times the quality of `reference`, and at least `speed` times its speed.

    "About" is the tolerance: 0.05 makes "about 80 %" mean at least 76 %, and "50 times" at least 47.5 times.
    `baseline` is the candidate's budget spent the old way; it defines the share of the gap that is closed.
    """

    candidate: Point
    reference: Point
    baseline: Point
    quality: PositiveFloat
    speed: PositiveFloat
    tolerance: PositiveFloat

    one_thing: ClassVar[bool] = True

    def judge(self, evidence: Evidence) -> list[Verdict]:
        """One verdict per definition of quality and of speed."""
        return [self._verdict(definition, evidence) for definition in DEFINITIONS]

    def _verdict(self, d: Definition, evidence: Evidence) -> Verdict:
        points = (self.candidate, self.reference, self.baseline)
        threshold = (self.speed if d.of_speed else self.quality) * (1 - self.tolerance)
        name = d.name.format(title=evidence.title(d.column, self.candidate))
        reading = Reading(name, d.formula, Range(low=threshold), d.value)
        return reading.verdict([(point, d.column) for point in points], self, evidence)
