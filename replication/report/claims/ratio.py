"""One figure divided by another."""

from replication.registry import CLAIMS, QUANTITIES
from replication.report.claims.claim import Exact, OfFigures, Point, Subject
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Verdict


@CLAIMS.register("ratio")
class Ratio(OfFigures):
    """Each of `of`, divided by `over`, is what the target says: points by each of `columns`, or exact quantities."""

    over: Subject

    def judge(self, evidence: Evidence) -> list[Verdict]:
        """One verdict for each figure that is divided."""
        if isinstance(self.over, Exact):
            return [self._of_quantities(of, self.over) for of in self.of if isinstance(of, Exact)]
        return [self._of_points(of, self.over, column, evidence) for of, column in self.by_column()]

    def _of_quantities(self, of: Exact, over: Exact) -> Verdict:
        a, b = of.build(QUANTITIES), over.build(QUANTITIES)
        formula = f"{a.value():,.12g} / {b.value():,.12g} {a.formula}"
        return Verdict.exact(f"{a.title} over {b.title}", formula, a.value() / b.value(), self.range)

    def _of_points(self, of: Point, over: Point, column: str, evidence: Evidence) -> Verdict:
        name = f"{evidence.title(column, of)}: {of.cell} over {over.cell}"
        return Reading(name, "first / second", self.range, lambda a, b: a / b).verdict(
            [(of, column), (over, column)], self, evidence
        )
