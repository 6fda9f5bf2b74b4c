"""Two points that differ by less than a margin: two one-sided tests (Schuirmann 1987), by interval.

The difference is a share of the reference. Both tests are at 2.5 %, so that the interval is the 95 % one of every other
verdict: wholly within the margin the points are equivalent, wholly outside they are not.
"""

from replication.harness.claim import EquivalenceClaim, Point, Range
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Verdict


def judge_equivalence(claim: EquivalenceClaim, evidence: Evidence) -> list[Verdict]:
    """One verdict for each column and point."""
    return [_of_pair(point, column, claim, evidence) for column in claim.columns for point in claim.points]


def _of_pair(point: Point, column: str, claim: EquivalenceClaim, evidence: Evidence) -> Verdict:
    name = f"{evidence.title(column, point)}: {point.cell} and {claim.reference.cell}"
    within = Range(-claim.margin, claim.margin)
    return Reading(name, "first / second - 1", within, lambda a, b: a / b - 1).verdict(
        [(point, column), (claim.reference, column)], claim, evidence
    )
