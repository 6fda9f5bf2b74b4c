"""How one column goes with another over points: Spearman's rank correlation, and Pearson's of logarithms.

The interval is about these very places; it doesn't pretend that they were drawn at random from others. Where points share
a place, such as seeds of a training, their scatter is what is uncertain: it has each row's own sampling error in it
already, which is not added again. Without repeats there is the rows' own error alone, and nothing of the training's.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator
from scipy.stats import rankdata

from replication.registry import CLAIMS
from replication.report.claims.claim import Claim, Columns, Points, Target
from replication.report.claims.draws import DRAWS, Drawn, Figure, Rows, by_factor, figure, percentiles, redrawn
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import NotTested

Scale = Callable[[np.ndarray], np.ndarray]  # [P] or [P,draws] -> the same shape
ranks: Scale = partial(rankdata, axis=0)  # along the points; where figures are equal, their mean rank


def logarithms(figures: np.ndarray) -> np.ndarray:
    """Natural logarithms; raises NotTested where there are none."""
    if (figures <= 0).any():
        raise NotTested("a figure that is not positive has no logarithm")
    return np.log(figures)


# by the method's name: the scales of the column `along` and of the other
SCALES: dict[str, tuple[Scale, Scale]] = {
    "rank": (ranks, ranks),
    "log-log": (logarithms, logarithms),
    "semi-log": (logarithms, np.asarray),
}


@CLAIMS.register("trend")
class Trend(Claim, Target):
    """Over the points, each of `columns` has the correlation with the column `along` that the target states.

    Of the `methods`, rank is Spearman's correlation, log-log Pearson's of both logarithms, semi-log Pearson's of the
    column with the logarithm of `along`. Points at the same place along are repeats, such as other seeds of a training.
    With `than`, other points, or `than_along`, another column, the target is about how much more closely the columns follow
    than over those or along that one. `direction` is then the one in which they are to follow: where the distance is to
    fall, closeness is minus the correlation, and a distance that rises is as far from it as can be.
    """

    points: Annotated[Points, Field(min_length=3)]
    columns: Columns
    along: str
    methods: Annotated[list[Literal["rank", "log-log", "semi-log"]], Field(min_length=1)] = ["rank", "log-log"]
    than: Points = []
    than_along: str | None = None
    direction: Literal["falling", "rising"] | None = None

    @property
    def compares(self) -> bool:
        """Whether the target is about a difference of two correlations."""
        return bool(self.than or self.than_along)

    @model_validator(mode="after")
    def _sound_comparison(self) -> "Trend":
        if 0 < len(self.than) < 3:
            raise ValueError("than: a correlation takes at least 3 points")
        if self.compares != (self.direction is not None):
            raise ValueError("direction: a comparison (than, than_along) needs it, a correlation alone has its sign")
        return self

    def readings(self, evidence: Evidence) -> Iterator[Reading]:
        """One for each column and method."""
        for column in self.columns:
            title, along = (evidence.title(c, self.points[0]) for c in (column, self.along))
            figures = [(point, c) for point in self.points for c in (self.along, column)]
            if self.compares:
                others = self.than or self.points
                figures += [(point, c) for point in others for c in (self.than_along or self.along, column)]
            for method in self.methods:
                yield Reading(
                    f"{method} correlation of {title} with {along}",
                    self._formula(evidence),
                    self.range,
                    partial(self._strength, method),
                    figures,
                    partial(self._redrawn, column),
                    partial(around, bound=2.0 if self.compares else 1.0),
                )

    def _strength(self, method: str, *figures: np.ndarray) -> np.ndarray:
        """Of (along, column) over the points, less that of what they are compared with."""
        along, by, count = np.stack(figures[0::2]), np.stack(figures[1::2]), len(self.points)
        first = correlated(along[:count], by[:count], method)
        if self.compares:
            sign = -1 if self.direction == "falling" else 1
            first = sign * (first - correlated(along[count:], by[count:], method))
        return np.round(first, 12) + 0.0  # alike is 0, not 1e-17, which would be above it, and no correlation exceeds 1

    def _formula(self, evidence: Evidence) -> str:
        over = f"over {len(self.points)} points"
        if not self.compares:
            return over
        other = f"over {len(self.than)} others" if self.than else over
        if self.than_along:
            other = f"with {evidence.title(self.than_along, self.points[0])}, {other}"
        return f"how closely it is {self.direction} {over} - {other}"

    def _redrawn(self, column: str, figures: Sequence[Figure], rows: Rows, generator: np.random.Generator) -> Drawn:
        """The figures along, each within its error; those of the column once for all that they are compared with."""
        drawn = {(p, c): redrawn(rows[p].record, c, generator) for p, c in dict.fromkeys(figures) if c != column}
        for points in filter(None, (self.points, self.than)):
            records = [rows[point].record for point in points]
            places = np.array([figure(record, self.along) for record in records])
            values = np.array([figure(record, column) for record in records])
            by = fresh_repeats(logarithms(values) if by_factor(column) else values, places, generator, DRAWS)
            if by is None:
                by = np.stack([redrawn(record, column, generator) for record in records])
            elif by_factor(column):
                by = np.exp(by)
            drawn |= {(point, column): draws for point, draws in zip(points, by, strict=True)}
        return Drawn(drawn)


def fresh_repeats(
    values: np.ndarray, places: np.ndarray, generator: np.random.Generator, draws: int
) -> np.ndarray | None:
    """Draws of repeats, such as the seeds of a training, from their own scatter: float64 [P,draws] of values [P].

    None if no place has two. They are normal about the mean of their place. The variance is pooled over the places, its own
    error drawn with it (scaled inverse chi-squared), since two degrees of freedom at one place say little. Picking seeds
    with replacement instead would have less scatter than the seeds (2/3 of the variance for three of them), and equal
    copies, which ranks take for a closer order than any that was measured.
    """
    _, place, count = np.unique(places, return_inverse=True, return_counts=True)
    freedom = len(values) - len(count)
    if not freedom:
        return None
    mean = (np.bincount(place, values) / count)[place]
    variance = ((values - mean) ** 2).sum() / generator.chisquare(freedom, size=draws)
    return mean[:, None] + np.sqrt(variance) * generator.standard_normal((len(values), draws))


def around(value: float, draws: np.ndarray, bound: float) -> tuple[float, float]:
    """(low, high) with low <= value <= high, within +-bound: the percentiles of the draws, and the same less their bias.

    Errors weaken a correlation and draws have them twice, so that percentiles alone lie between 0 and the value and miss
    the truth beyond it. The draws' median is as far from the value as that is from the truth, about: the percentiles,
    moved twice that far, surround the truth. Far from +-1, where this overdoes it, the percentiles themselves do.
    """
    low, high = percentiles(value, draws)
    unbiased = 2 * (value - float(np.median(draws)))
    return max(min(low, low + unbiased, value), -bound), min(max(high, high + unbiased, value), bound)


def correlated(along: np.ndarray, by: np.ndarray, method: str) -> np.ndarray:
    """By that method over the first axis, [P] or [P,draws] -> [] or [draws]."""
    of_along, of_by = SCALES[method]
    return correlation(of_along(along), of_by(by))


def correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's over the first axis, [P] or [P,draws] -> [] or [draws]; NaN where nothing varies."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    with np.errstate(invalid="ignore"):
        return (x * y).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
