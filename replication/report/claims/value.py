"""A figure against what is claimed of it."""

from functools import cache

from replication.registry import CLAIMS, QUANTITIES
from replication.report.claims.claim import Exact, OfFigures, Point
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Verdict


@cache  # the same in every profile
def _computed(exact: str) -> tuple[str, str, float]:
    """Title, formula and value of a quantity."""
    quantity = Exact.model_validate_json(exact).build(QUANTITIES)
    return quantity.title, quantity.formula, quantity.value()


@CLAIMS.register("value")
class Value(OfFigures):
    """Each of `of` is what the target says: points by each of `columns`, or exact quantities."""

    def judge(self, evidence: Evidence) -> list[Verdict]:
        """One verdict for each figure."""
        exact = [subject for subject in self.of if isinstance(subject, Exact)]
        verdicts = [Verdict.exact(*_computed(subject.model_dump_json()), self.range) for subject in exact]
        return verdicts + [self._of_point(point, column, evidence) for point, column in self.by_column()]

    def _of_point(self, point: Point, column: str, evidence: Evidence) -> Verdict:
        reading = Reading(f"{evidence.title(column, point)} of {point.cell}", "the figure", self.range, lambda x: x)
        return reading.verdict([(point, column)], self, evidence)
