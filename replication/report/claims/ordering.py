"""Points in an order, pair by pair: neighbours are compared, and the order stands if every pair does."""

from dataclasses import replace
from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator

from replication.registry import CLAIMS
from replication.report.claims.claim import OnRows, Point, Points
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Range, Verdict


@CLAIMS.register("ordering")
class Ordering(OnRows):
    """From each point to the next, every column of `rising` rises and every one of `falling` falls."""

    points: Annotated[Points, Field(min_length=2)]
    rising: list[str] = []
    falling: list[str] = []

    @model_validator(mode="after")
    def _some_column(self) -> "Ordering":
        if not self.rising and not self.falling:
            raise ValueError("say which columns are rising or falling")
        return self

    def judge(self, evidence: Evidence) -> list[Verdict]:
        """One verdict for each column and pair of neighbours, on the difference, which may be of figures below zero."""
        directions = [(column, Range(low=0.0)) for column in self.rising]
        directions += [(column, Range(high=0.0)) for column in self.falling]
        return [
            self._of_pair(first, second, column, needed, evidence)
            for column, needed in directions
            for first, second in pairwise(self.points)
        ]

    def _of_pair(self, first: Point, second: Point, column: str, needed: Range, evidence: Evidence) -> Verdict:
        name = f"{evidence.title(column, first)}: {first.cell}, then {second.cell}"
        found = Reading(name, "second - first", needed, lambda a, b: b - a).verdict(
            [(first, column), (second, column)], self, evidence
        )
        # two exact figures that are equal neither rise nor fall
        return replace(found, word="refuted") if found.low == found.high == 0 else found
