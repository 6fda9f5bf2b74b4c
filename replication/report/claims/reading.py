"""One reading of a claim: a function of figures of rows, its interval, and the word for where that lies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from replication.harness.claim import OnRows, Point, Range
from replication.report.claims.evidence import Evidence, differing
from replication.report.claims.figures import bounded, figure, redrawn
from replication.report.claims.printed import as_printed
from replication.report.claims.verdict import NotTested, Verdict, word_for


@dataclass(frozen=True)
class Reading:
    """`of` takes as many figures as there are, each float64 [] or [draws], and gives one number for each draw."""

    definition: str
    formula: str
    needed: Range
    of: Callable[..., np.ndarray]

    def verdict(self, figures: Sequence[tuple[Point, str]], claim: OnRows, evidence: Evidence) -> Verdict:
        """The word for the 95 % interval that redrawing each figure within its own error gives, or why there is none."""
        published = as_printed(self.of, figures, evidence)
        try:
            return self._judged(figures, claim, evidence, published)
        except NotTested as reason:
            return Verdict.untested(self.definition, self.formula, self.needed, reason, published)

    def _judged(
        self, figures: Sequence[tuple[Point, str]], claim: OnRows, evidence: Evidence, published: float | None
    ) -> Verdict:
        rows = {point: evidence.record(point) for point, _ in figures}
        unequal = differing(claim, list(rows.values()), [column for _, column in figures])
        value = float(self.of(*(np.asarray(figure(rows[point], column)) for point, column in figures)))
        if not np.isfinite(value):
            raise NotTested("the figures do not give a number")
        generator = np.random.default_rng(0)
        drawn = {(point, column): redrawn(rows[point], column, generator) for point, column in figures}
        low, high = (float(q) for q in np.quantile(self.of(*(drawn[f] for f in figures)), [0.025, 0.975]))
        word = word_for(self.needed, low, high)
        if not all(bounded(rows[point], column) for point, column in figures):
            word = "inconclusive"
        return Verdict(self.definition, self.formula, value, low, high, str(self.needed), published, word, "", unequal)
