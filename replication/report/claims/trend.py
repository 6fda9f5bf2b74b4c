"""How one column goes with another over points: Spearman's rank correlation, and Pearson's of the logarithms.

The interval is about the figures' own errors at these very points; it doesn't pretend that they were drawn at random
from others.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import rankdata

from replication.harness.claim import Point, TrendClaim
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import NotTested, Verdict

Scale = Callable[[np.ndarray], np.ndarray]  # [P] or [P,draws] -> the same shape


def ranks(figures: np.ndarray) -> np.ndarray:
    """Ranks along the points, the mean of them where figures are equal."""
    return rankdata(figures, axis=0)


def logarithms(figures: np.ndarray) -> np.ndarray:
    """Natural logarithms; raises NotTested where there are none."""
    if (figures <= 0).any():
        raise NotTested("a figure that is not positive has no logarithm")
    return np.log(figures)


SCALES: dict[str, Scale] = {"rank": ranks, "log-log": logarithms}


def judge_trend(claim: TrendClaim, evidence: Evidence) -> list[Verdict]:
    """Two verdicts for each column: by rank and by logarithm."""
    return [_verdict(column, name, claim, evidence) for column in claim.columns for name in SCALES]


def _verdict(column: str, name: str, claim: TrendClaim, evidence: Evidence) -> Verdict:
    count, scale = len(claim.points), SCALES[name]

    def strength(*figures: np.ndarray) -> np.ndarray:
        """Of (along, column) over the points, less that of the others if there are any."""
        along, by = np.stack(figures[0::2]), np.stack(figures[1::2])
        first = correlation(scale(along[:count]), scale(by[:count]))
        if not claim.than:
            return first
        return np.abs(first) - np.abs(correlation(scale(along[count:]), scale(by[count:])))

    formula = f"over {count} points"
    if claim.than:
        formula = f"its size {formula} - its size over {len(claim.than)} others"
    titles = [evidence.title(c, claim.points[0]) for c in (column, claim.along)]
    reading = Reading(f"{name} correlation of {titles[0]} with {titles[1]}", formula, claim.range, strength)
    return reading.verdict(_figures([*claim.points, *claim.than], claim.along, column), claim, evidence)


def _figures(points: Sequence[Point], along: str, column: str) -> list[tuple[Point, str]]:
    return [(point, c) for point in points for c in (along, column)]


def correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's over the first axis, [P] or [P,draws] -> [] or [draws]; NaN where nothing varies."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    with np.errstate(invalid="ignore"):
        return (x * y).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
