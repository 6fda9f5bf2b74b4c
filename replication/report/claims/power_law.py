"""How closely a figure follows a power law, y = a x^-b: what "scales predictably" means in numbers.

    log y = log a - b log x      least squares over all points of a family
    scatter                      root mean square of the residuals, in log y: 0.06 is about 6 %
    error of extrapolation       log y at the largest place, mean over its points, less what a fit to the others gives there

A correlation does not measure this. It is near -1 for whatever falls steadily enough, however badly the smaller networks
predict the largest, and that of ranks is at its limit as soon as the sizes are in order.

Where the other side is not known to fall at all, it has no law to follow, and following one more closely than it does is no
finding: what would be supported is inconclusive.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from os.path import commonprefix
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from replication.registry import CLAIMS
from replication.report.claims.claim import Claim, Columns, Point, Points
from replication.report.claims.draws import around, drawn_once, logarithms, redrawn_over
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.trend import correlated, reach_of
from replication.report.claims.verdict import NotTested, Range, Verdict

FALLS, LESS, NOTHING = Range(low=0.0, open=True), Range(high=0.0, open=True), Range()


class Fit(NamedTuple):
    """log y = intercept - exponent log x, both [] or [draws], and the residuals [P] or [P,draws]."""

    intercept: np.ndarray
    exponent: np.ndarray
    residuals: np.ndarray


def fitted(x: np.ndarray, y: np.ndarray) -> Fit:
    """Least squares over the first axis of positive x and y, [P] or [P,draws]; raises NotTested for a single place."""
    log_x, log_y = logarithms(x), logarithms(y)
    from_mean = log_x - log_x.mean(axis=0)
    squares = (from_mean**2).sum(axis=0)
    if (squares <= 0).any():
        raise NotTested("a power law takes at least two places")
    exponent = -(from_mean * log_y).sum(axis=0) / squares
    intercept = log_y.mean(axis=0) + exponent * log_x.mean(axis=0)
    return Fit(intercept, exponent, log_y - intercept + exponent * log_x)


def exponent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """b of y = a x^-b, positive where y falls, [] or [draws]."""
    return fitted(x, y).exponent


def scatter(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Root mean square of the residuals in log y, [] or [draws]."""
    root: np.ndarray = np.sqrt((fitted(x, y).residuals ** 2).mean(axis=0))
    return root


def extrapolation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log y at the largest x, mean over its points, less what the fit to the smaller ones gives there, [] or [draws]."""
    # the places are the same in every draw, as they are counted
    largest = x.reshape(len(x), -1)[:, 0] == x.max()
    smaller = fitted(x[~largest], y[~largest])
    error: np.ndarray = logarithms(y[largest]).mean(axis=0) - smaller.intercept + smaller.exponent * np.log(x.max())
    return error


Side = tuple[np.ndarray, np.ndarray]  # along and column, each [P] or [P,draws]
Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of one side
ANY, SIZE = (-np.inf, np.inf), (0.0, np.inf)  # between which a figure lies
EXPONENT = "exponent"
# by the measure's name: its formula, its function of one side, and between what it lies
MEASURES: dict[str, tuple[str, Measure, tuple[float, float]]] = {
    "scatter": ("root mean square about the law, in log y", scatter, SIZE),
    "extrapolation": ("log y of the largest less what the others give", extrapolation, ANY),
}


class Part(NamedTuple):
    """A figure of both sides, what is needed of it, and between what it lies."""

    name: str
    formula: str
    needed: Range
    of: Callable[[Side, Side], np.ndarray]
    within: tuple[float, float] = ANY


@CLAIMS.register("power-law")
class PowerLaw(Claim):
    """Each of `columns` falls with `along` as a power law, and follows it more closely than what it is compared with.

    That is other points (`than`), or the same ones along another column (`than_along`). By each of `measures` the sizes are
    compared: of the scatter about the fit, of the error of extrapolating the largest place from the others. Points at
    the same place are repeats, such as other seeds of a training. What each side has by itself, and its correlations,
    are shown and not judged.
    """

    points: Annotated[Points, Field(min_length=3)]
    than: Points = []
    than_along: str | None = None
    columns: Columns
    along: str
    measures: Annotated[list[Literal["scatter", "extrapolation"]], Field(min_length=1)] = ["scatter", "extrapolation"]

    @model_validator(mode="after")
    def _one_comparison(self) -> "PowerLaw":
        if bool(self.than) == bool(self.than_along):
            raise ValueError("say what it is compared with: than (other points) or than_along (another column)")
        if 0 < len(self.than) < 3:
            raise ValueError("than: a power law takes at least 3 points")
        return self

    @property
    def sides(self) -> list[tuple[list[Point], str]]:
        """The points and what they go along, of this side and of the other."""
        return [(self.points, self.along), (self.than or self.points, self.than_along or self.along)]

    def readings(self, evidence: Evidence) -> Iterator[Reading]:
        """For each column: that the points fall, each measure of both sides and compared, and correlations."""
        families = [self.points, *([self.than] if self.than else [])]
        for column in self.columns:
            title = evidence.title(column, self.points[0])
            figures = [(point, c) for points, along in self.sides for point in points for c in (along, column)]
            redraw = drawn_once(partial(redrawn_over, families, self.along, column))
            for part in self._parts(evidence):
                yield Reading(
                    f"{title}: {part.name}",
                    part.formula,
                    part.needed,
                    partial(self._of_figures, part.of),
                    figures,
                    redraw,
                    partial(around, within=part.within),
                )

    def _parts(self, evidence: Evidence) -> Iterator[Part]:
        names = self._names(evidence)
        sides = [
            (i, name, f"over {len(points)} points")
            for i, (name, (points, _)) in enumerate(zip(names, self.sides, strict=True))
        ]
        for i, name, over in sides:
            law = f"b of y = a x^-b, least squares in logarithms, {over}"
            yield Part(f"{EXPONENT}, {name}", law, NOTHING if i else FALLS, _of_side(i, exponent))
        for measure in self.measures:
            what, of, within = MEASURES[measure]
            for i, name, over in sides:
                yield Part(f"{measure}, {name}", f"{what}, {over}", NOTHING, _of_side(i, of), within)
            yield Part(f"{measure}, {' less '.join(names)}", "difference of sizes", LESS, partial(_difference, of))
        for method in ("rank", "log-log"):
            for i, (name, (points, along)) in enumerate(zip(names, self.sides, strict=True)):
                over, within = reach_of(method, points, along, evidence)
                of_side = _of_side(i, partial(correlated, method=method))
                yield Part(f"{method} correlation, {name}", over, NOTHING, of_side, within)

    def judge(self, evidence: Evidence) -> list[Verdict]:
        """One verdict for each reading, those of a column beside each other."""
        verdicts = super().judge(evidence)
        size = len(verdicts) // len(self.columns)
        return [v for i in range(0, len(verdicts), size) for v in _with_a_law(verdicts[i : i + size])]

    def deciding(self, verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        """That the points fall is needed, and yet no evidence that they do so more predictably."""
        return [v for v in verdicts if v.word != "supported" or EXPONENT not in v.definition]

    def _names(self, evidence: Evidence) -> list[str]:
        """Of this side and of the other: what its labels begin with, or what it goes along."""
        if self.than_along:
            return [f"along {evidence.title(along, points[0])}" for points, along in self.sides]
        labels = [[point.label for point in points] for points, _ in self.sides]
        return [commonprefix(of_side).strip(" ,-/") for of_side in labels]  # noqa: RUF071 - no paths: by characters

    def _of_figures(self, of: Callable[[Side, Side], np.ndarray], *figures: np.ndarray) -> np.ndarray:
        along, by, count = np.stack(figures[0::2]), np.stack(figures[1::2]), len(self.points)
        return of((along[:count], by[:count]), (along[count:], by[count:]))


def _with_a_law(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those of one column, whose first two are the exponents of this side and of the other."""
    other = verdicts[1]
    if other.low is None or other.low > 0:
        return list(verdicts)
    reason = f"{other.definition} is {other.measured}: it has no law to follow"
    return [
        replace(v, word="inconclusive", reason=reason, p=None) if v.needed == LESS and v.word == "supported" else v
        for v in verdicts
    ]


def _of_side(i: int, of: Measure) -> Callable[[Side, Side], np.ndarray]:
    return lambda *sides: of(*sides[i])


def _difference(of: Measure, one: Side, other: Side) -> np.ndarray:
    return np.abs(of(*one)) - np.abs(of(*other))
