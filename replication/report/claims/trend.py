"""How one column goes with another over points: Spearman's rank correlation, and Pearson's of logarithms.

The interval is about the figures' own errors at these very points, and about the repeats among them: points at the same
place along, such as other seeds of a training, are drawn again with replacement. It doesn't pretend that the places were
drawn at random from others.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from replication.harness.claim import TrendClaim
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


def plain(figures: np.ndarray) -> np.ndarray:
    """The figures as they are."""
    return figures


# by the method's name: the scales of the column `along` and of the other
SCALES: dict[str, tuple[Scale, Scale]] = {
    "rank": (ranks, ranks),
    "log-log": (logarithms, logarithms),
    "semi-log": (logarithms, plain),
}


def judge_trend(claim: TrendClaim, evidence: Evidence) -> list[Verdict]:
    """One verdict for each column and method."""
    return [_verdict(column, method, claim, evidence) for column in claim.columns for method in claim.methods]


def _verdict(column: str, method: str, claim: TrendClaim, evidence: Evidence) -> Verdict:
    count, compared = len(claim.points), bool(claim.than or claim.than_along)

    def strength(*figures: np.ndarray) -> np.ndarray:
        """Of (along, column) over the points, less that of what they are compared with."""
        along, by, generator = np.stack(figures[0::2]), np.stack(figures[1::2]), np.random.default_rng(0)
        first = correlated(along[:count], by[:count], method, generator)
        if not compared:
            return first
        return np.abs(first) - np.abs(correlated(along[count:], by[count:], method, generator))

    title, along = (evidence.title(c, claim.points[0]) for c in (column, claim.along))
    formula = f"over {count} points"
    if claim.than:
        formula = f"its size {formula} - its size over {len(claim.than)} others"
    elif claim.than_along:
        formula = f"its size - its size with {evidence.title(claim.than_along, claim.points[0])}, {formula}"
    figures = [(point, c) for point in claim.points for c in (claim.along, column)]
    if compared:
        others = claim.than or claim.points
        figures += [(point, c) for point in others for c in (claim.than_along or claim.along, column)]
    reading = Reading(f"{method} correlation of {title} with {along}", formula, claim.range, strength)
    return reading.verdict(figures, claim, evidence)


def correlated(along: np.ndarray, by: np.ndarray, method: str, generator: np.random.Generator) -> np.ndarray:
    """By that method over the first axis, [P] or [P,draws] -> [] or [draws]; in draws, repeats are drawn again."""
    of_along, of_by = SCALES[method]
    return correlation(of_along(along), of_by(by if by.ndim == 1 else redrawn_repeats(along, by, generator)))


def redrawn_repeats(along: np.ndarray, by: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """[P,draws] of `by` where each draw picks, for points at one place along, that many of them with replacement."""
    drawn = by.copy()
    _, place = np.unique(along, axis=0, return_inverse=True)
    for same in (np.flatnonzero(place == p) for p in range(place.max() + 1)):
        if len(same) > 1:
            chosen = generator.integers(len(same), size=(len(same), by.shape[1]))
            drawn[same] = np.take_along_axis(by[same], chosen, axis=0)
    return drawn


def correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's over the first axis, [P] or [P,draws] -> [] or [draws]; NaN where nothing varies."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    with np.errstate(invalid="ignore"):
        return (x * y).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
