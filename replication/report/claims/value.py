"""Figures of rows, one or two at a time: a value, a ratio, the equivalence of two, and an order of several.

Equivalence is two one-sided tests (Schuirmann 1987), by interval. Both are at 2.5 %, so that the interval is the 95 % one of
every other verdict: wholly within the margin the points are equivalent, wholly outside they are not.
"""

import operator
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Annotated

from pydantic import Field, PositiveFloat, model_validator

from replication.registry import CLAIMS, QUANTITIES
from replication.report.claims.claim import Claim, Columns, Exact, Point, Points, Subject, Subjects, Target
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Range


@cache  # the same in every profile
def _computed(exact: str) -> tuple[str, str, float]:
    """Title, formula and value of a quantity."""
    quantity = Exact.model_validate_json(exact).build(QUANTITIES)
    return quantity.title, quantity.formula, quantity.value()


@CLAIMS.register("value")
class Value(Claim, Target):
    """Each of `of` lies where the target is: points by each of `columns`, or exact quantities."""

    of: Subjects
    columns: list[str] = []

    @model_validator(mode="after")
    def _columns_of_points(self) -> "Value":
        subjects = list(self.named())
        if len({type(subject) for subject in subjects}) > 1:
            raise ValueError("points and exact quantities do not go together")
        if bool(self.columns) != isinstance(subjects[0], Point):
            raise ValueError("columns: points need them, exact quantities have none")
        return self

    def readings(self, evidence: Evidence) -> Iterator[Reading]:
        """One for each figure."""
        for subject in self.of:
            if isinstance(subject, Exact):
                yield self.of_quantity(subject)
            else:
                yield from (self.of_point(subject, column, evidence) for column in self.columns)

    def of_quantity(self, exact: Exact) -> Reading:
        """That of a quantity."""
        title, formula, value = _computed(exact.model_dump_json())
        return Reading.exact(title, formula, self.range, value)

    def of_point(self, point: Point, column: str, evidence: Evidence) -> Reading:
        """That of a row's figure."""
        name = f"{evidence.title(column, point)} of {point.cell}"
        return Reading(name, "the figure", self.range, lambda x: x, [(point, column)])


@CLAIMS.register("ratio")
class Ratio(Value):
    """Each of `of`, divided by `over`, lies where the target is: points by each of `columns`, or exact quantities."""

    over: Subject

    def of_quantity(self, exact: Exact) -> Reading:
        """That of a quantity divided by the other."""
        (title, formula, a), (other, _, b) = (_computed(one.model_dump_json()) for one in (exact, self.over))
        return Reading.exact(f"{title} over {other}", f"{a:,.12g} / {b:,.12g} {formula}", self.range, a / b)

    def of_point(self, point: Point, column: str, evidence: Evidence) -> Reading:
        """That of a row's figure divided by the other's."""
        assert isinstance(self.over, Point)  # as all of them then are
        name = f"{evidence.title(column, point)}: {point.cell} over {self.over.cell}"
        figures = [(point, column), (self.over, column)]
        return Reading(name, "first / second", self.range, operator.truediv, figures, divisor=lambda a, b: b)


@CLAIMS.register("equivalence")
class Equivalence(Claim):
    """By each of `columns`, each point differs from `reference` by less than the share `margin` of the reference."""

    points: Annotated[Points, Field(min_length=1)]
    reference: Point
    columns: Columns
    margin: PositiveFloat

    def readings(self, evidence: Evidence) -> Iterator[Reading]:
        """One for each column and point."""
        within = Range(-self.margin, self.margin)
        for column in self.columns:
            for point in self.points:
                name = f"{evidence.title(column, point)}: {point.cell} and {self.reference.cell}"
                figures = [(point, column), (self.reference, column)]
                formula = "first / second - 1"
                yield Reading(name, formula, within, lambda a, b: a / b - 1, figures, divisor=lambda a, b: b)


@CLAIMS.register("ordering")
class Ordering(Claim):
    """From each point to the next, every column of `rising` rises and every one of `falling` falls."""

    points: Annotated[Points, Field(min_length=2)]
    rising: list[str] = []
    falling: list[str] = []

    @model_validator(mode="after")
    def _some_column(self) -> "Ordering":
        if not self.rising and not self.falling:
            raise ValueError("say which columns are rising or falling")
        return self

    def readings(self, evidence: Evidence) -> Iterator[Reading]:
        """One for each column and pair of neighbours, on the difference, which may be of figures below zero."""
        for columns, needed in ((self.rising, Range(low=0.0, open=True)), (self.falling, Range(high=0.0, open=True))):
            for column in columns:
                for first, second in pairwise(self.points):
                    name = f"{evidence.title(column, first)}: {first.cell}, then {second.cell}"
                    figures = [(first, column), (second, column)]
                    yield Reading(name, "second - first", needed, lambda a, b: b - a, figures)
