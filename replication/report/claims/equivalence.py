"""Two points that differ by less than a margin: two one-sided tests (Schuirmann 1987), by interval.

The difference is a share of the reference. Both tests are at 2.5 %, so that the interval is the 95 % one of every other
verdict: wholly within the margin the points are equivalent, wholly outside they are not.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, PositiveFloat

from replication.registry import CLAIMS
from replication.report.claims.claim import Claim, Columns, Point, Points
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Range


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
