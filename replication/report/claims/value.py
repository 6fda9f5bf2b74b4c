"""A figure against what is claimed of it, and one figure divided by another."""

import operator
from collections.abc import Iterator
from functools import cache

from pydantic import model_validator

from replication.registry import CLAIMS, QUANTITIES
from replication.report.claims.claim import Claim, Exact, Point, Subject, Subjects, Target
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading


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
