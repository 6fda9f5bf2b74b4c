"""One figure divided by another."""

from replication.harness.claim import Exact, Point, RatioClaim
from replication.registry import QUANTITIES
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Verdict


def judge_ratio(claim: RatioClaim, evidence: Evidence) -> list[Verdict]:
    """One verdict for each figure that is divided."""
    if isinstance(claim.over, Exact):
        return [_of_quantities(of, claim.over, claim) for of in claim.of if isinstance(of, Exact)]
    points = [(of, column) for of in claim.of if isinstance(of, Point) for column in claim.columns]
    return [_of_points(of, claim.over, column, claim, evidence) for of, column in points]


def _of_quantities(of: Exact, over: Exact, claim: RatioClaim) -> Verdict:
    a, b = of.build(QUANTITIES), over.build(QUANTITIES)
    formula = f"{a.value():,.12g} / {b.value():,.12g} {a.formula}"
    return Verdict.exact(f"{a.title} over {b.title}", formula, a.value() / b.value(), claim.range)


def _of_points(of: Point, over: Point, column: str, claim: RatioClaim, evidence: Evidence) -> Verdict:
    name = f"{evidence.title(column, of)}: {of.cell} over {over.cell}"
    return Reading(name, "first / second", claim.range, lambda a, b: a / b).verdict(
        [(of, column), (over, column)], claim, evidence
    )
