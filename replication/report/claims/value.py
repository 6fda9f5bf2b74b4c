"""A figure against what is claimed of it."""

from replication.registry import CLAIMS, QUANTITIES
from replication.report.claims.claim import Exact, OfFigures, Point
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Verdict


@CLAIMS.register("value")
class Value(OfFigures):
    """Each of `of` is what the target says: points by each of `columns`, or exact quantities."""

    def judge(self, evidence: Evidence) -> list[Verdict]:
        """One verdict for each figure."""
        verdicts = [self._of_quantity(subject) for subject in self.of if isinstance(subject, Exact)]
        return verdicts + [self._of_point(point, column, evidence) for point, column in self.by_column()]

    def _of_quantity(self, exact: Exact) -> Verdict:
        quantity = exact.build(QUANTITIES)
        return Verdict.exact(quantity.title, quantity.formula, quantity.value(), self.range)

    def _of_point(self, point: Point, column: str, evidence: Evidence) -> Verdict:
        reading = Reading(f"{evidence.title(column, point)} of {point.cell}", "the figure", self.range, lambda x: x)
        return reading.verdict([(point, column)], self, evidence)
