"""Points in an order, pair by pair: neighbours are compared, and the order stands if every pair does."""

from dataclasses import replace
from itertools import pairwise

from replication.harness.claim import OrderingClaim, Point, Range
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Verdict


def judge_ordering(claim: OrderingClaim, evidence: Evidence) -> list[Verdict]:
    """One verdict for each column and pair of neighbours, on the difference, which may be of figures below zero."""
    directions = [(column, Range(low=0.0)) for column in claim.rising]
    directions += [(column, Range(high=0.0)) for column in claim.falling]
    return [
        _of_pair(first, second, column, needed, claim, evidence)
        for column, needed in directions
        for first, second in pairwise(claim.points)
    ]


def _of_pair(
    first: Point, second: Point, column: str, needed: Range, claim: OrderingClaim, evidence: Evidence
) -> Verdict:
    name = f"{evidence.title(column, first)}: {first.cell}, then {second.cell}"
    found = Reading(name, "second - first", needed, lambda a, b: b - a).verdict(
        [(first, column), (second, column)], claim, evidence
    )
    # two exact figures that are equal neither rise nor fall
    return replace(found, word="refuted") if found.low == found.high == 0 else found
