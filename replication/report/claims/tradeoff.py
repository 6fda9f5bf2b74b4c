"""A trade-off: so much of the quality at so much of the speed.

"80 % of the quality" has no single meaning, so it is judged under each of them; the verdict often turns on the choice.
"""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import PositiveFloat

from replication.registry import CLAIMS
from replication.report.claims.claim import Claim, Point
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Range

GAP = "(baseline - candidate) / (baseline - reference)"
# each meaning: name, formula, column, and the function of its (candidate, reference, baseline) values
QUALITY = (
    ("{title} ratio", "reference / candidate", "metric.fd", lambda c, r, b: r / c),
    ("{title} ratio", "candidate / reference", "metric.is", lambda c, r, b: c / r),
    ("{title} gap closed", GAP, "metric.fd", lambda c, r, b: (b - c) / (b - r)),
    ("{title} gap closed", GAP, "metric.kid", lambda c, r, b: (b - c) / (b - r)),
)
SPEED = (
    ("speed in {title}", "reference / candidate", "sampling.nfe", lambda c, r, b: r / c),
    ("speed, measured", "reference / candidate", "timing.seconds_per_image", lambda c, r, b: r / c),
)


@CLAIMS.register("tradeoff")
class TradeOff(Claim):
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

    def readings(self, evidence: Evidence) -> Iterator[Reading]:
        """One for each meaning of quality and of speed."""
        points = (self.candidate, self.reference, self.baseline)
        for meanings, times in ((QUALITY, self.quality), (SPEED, self.speed)):
            for name, formula, column, of in meanings:
                title = name.format(title=evidence.title(column, self.candidate))
                needed = Range(low=times * (1 - self.tolerance))
                yield Reading(title, formula, needed, of, [(point, column) for point in points])
