"""Points in an order, pair by pair: neighbours are compared, and the order stands if every pair does."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator

from replication.registry import CLAIMS
from replication.report.claims.claim import Claim, Points
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Range


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
