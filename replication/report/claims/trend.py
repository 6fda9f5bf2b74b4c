"""How one column goes with another over points: Spearman's rank correlation, and Pearson's of logarithms.

The interval is about these very places; it doesn't pretend that they were drawn at random from others (see draws.py).
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from replication.registry import CLAIMS
from replication.report.claims.claim import Claim, Columns, Points, Target
from replication.report.claims.draws import around, figure, logarithms, redrawn_over
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import NotTested, Range
from replication.settings import Settings

Scale = Callable[[np.ndarray], np.ndarray]  # [P] or [P,draws] -> the same shape


def ranks(figures: np.ndarray) -> np.ndarray:
    """From 1 on over the first axis, [P] or [P,draws]; where figures are equal, their mean rank."""
    less, same = figures[None] < figures[:, None], figures[None] == figures[:, None]
    return np.asarray(less.sum(axis=1) + (same.sum(axis=1) + 1) / 2)


# by the method's name: the scales of the column `along` and of the other
SCALES: dict[str, tuple[Scale, Scale]] = {
    "rank": (ranks, ranks),
    "log-log": (logarithms, logarithms),
    "semi-log": (logarithms, np.asarray),
}
Method = Literal["rank", "log-log", "semi-log"]


class Printed(Settings):
    """A correlation that a paper prints: its value, of which kind it is and of which column, and over how many points."""

    correlation: Annotated[float, Field(ge=-1, le=1)]
    method: Method
    column: str
    points: Annotated[int, Field(ge=3)]


@CLAIMS.register("trend")
class Trend(Claim, Target):
    """Over the points, each of `columns` has the correlation with the column `along` that the target states.

    Of the `methods`, rank is Spearman's correlation, log-log Pearson's of both logarithms, semi-log Pearson's of the
    column with the logarithm of `along`. Points at the same place along are repeats, such as other seeds of a training.
    "It falls" needs no more than a correlation below 0. How strong the correlation is says something only beside one that
    is `printed`: of the same kind and column, over as many points.
    """

    points: Annotated[Points, Field(min_length=3)]
    columns: Columns
    along: str
    methods: Annotated[list[Method], Field(min_length=1)] = ["rank", "log-log"]
    printed: list[Printed] = []

    def readings(self, evidence: Evidence) -> Iterator[Reading]:
        """One for each column and method, and one for each correlation that is printed."""
        for column in self.columns:
            for method in self.methods:
                yield self._reading(column, method, self.range, evidence)
        for printed in self.printed:
            yield self._as_strong(printed, evidence)

    def _reading(self, column: str, method: str, needed: Range, evidence: Evidence, reason: str = "") -> Reading:
        title, along = (evidence.title(c, self.points[0]) for c in (column, self.along))
        over, within = reach_of(method, self.points, self.along, evidence)
        return Reading(
            f"{method} correlation of {title} with {along}",
            over,
            needed,
            partial(_of_figures, method),
            [(point, c) for point in self.points for c in (self.along, column)],
            partial(redrawn_over, [self.points], self.along, column),
            partial(around, within=within),
            reason,
        )

    def _as_strong(self, printed: Printed, evidence: Evidence) -> Reading:
        """That the correlation is about the printed one; not tested over another number of points, which changes it."""
        fewer = f"what is printed is over {printed.points} points, here are {len(self.points)}"
        reason = fewer if len(self.points) != printed.points else ""
        needed = Target(about=printed.correlation).range
        return self._reading(printed.column, printed.method, needed, evidence, reason)


def _of_figures(method: str, *figures: np.ndarray) -> np.ndarray:
    """Of (along, column) over the points, [] or [draws]."""
    return correlated(np.stack(figures[0::2]), np.stack(figures[1::2]), method)


def correlated(along: np.ndarray, by: np.ndarray, method: str) -> np.ndarray:
    """By that method over the first axis, [P] or [P,draws] -> [] or [draws]."""
    of_along, of_by = SCALES[method]
    # rounded: no correlation exceeds 1, and one of 0 is not 1e-17, which would be above 0
    return np.asarray(np.round(correlation(of_along(along), of_by(by)), 12) + 0.0)


def correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's over the first axis, [P] or [P,draws] -> [] or [draws]; NaN where nothing varies."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    with np.errstate(invalid="ignore"):
        return (x * y).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))


def reach_of(method: str, points: Points, along: str, evidence: Evidence) -> tuple[str, tuple[float, float]]:
    """Over how many points, in words, and between what the correlation lies: of ranks, under 1 where places are shared."""
    over = f"over {len(points)} points"
    try:
        places = np.array([figure(evidence.row(point).record, along) for point in points])
    except NotTested:  # as the reading will be
        return over, (-1.0, 1.0)
    most = largest_of_ranks(places) if method == "rank" else 1.0
    return over if most == 1 else f"{over}, some at one place: at most {most:.2f} in size", (-most, most)


def largest_of_ranks(places: np.ndarray) -> float:
    """Spearman's correlation of places [P] with figures that all differ and are in the places' order: 1 without ties."""
    return float(np.round(correlation(ranks(np.sort(places)), np.arange(len(places))), 12))
