"""A figure against what is claimed of it."""

from replication.harness.claim import Exact, Point, ValueClaim
from replication.registry import QUANTITIES
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Verdict


def judge_value(claim: ValueClaim, evidence: Evidence) -> list[Verdict]:
    """One verdict for each figure."""
    points = [(subject, column) for subject in claim.of if isinstance(subject, Point) for column in claim.columns]
    verdicts = [_of_quantity(subject, claim) for subject in claim.of if isinstance(subject, Exact)]
    return verdicts + [_of_point(point, column, claim, evidence) for point, column in points]


def _of_quantity(exact: Exact, claim: ValueClaim) -> Verdict:
    quantity = exact.build(QUANTITIES)
    return Verdict.exact(quantity.title, quantity.formula, quantity.value(), claim.range)


def _of_point(point: Point, column: str, claim: ValueClaim, evidence: Evidence) -> Verdict:
    reading = Reading(f"{evidence.title(column, point)} of {point.cell}", "the figure", claim.range, lambda x: x)
    return reading.verdict([(point, column)], claim, evidence)
