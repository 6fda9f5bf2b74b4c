"""One reading of a claim: a function of figures of rows, its interval, and the word for where that lies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from replication.harness.journal import Record
from replication.report.claims.claim import OnRows, Point
from replication.report.claims.evidence import Evidence, differing
from replication.report.claims.figures import bounded, figure, redrawn
from replication.report.claims.printed import as_printed
from replication.report.claims.verdict import NotTested, Range, Verdict, word_for

Figure = tuple[Point, str]  # a row's, by its point and column
Figures = Mapping[Figure, np.ndarray]  # float64 [draws] of each
Redraw = Callable[[Sequence[Figure], Mapping[Point, Record], np.random.Generator], Figures]


def each_within_its_error(
    figures: Sequence[Figure], rows: Mapping[Point, Record], generator: np.random.Generator
) -> Figures:
    """Each figure redrawn by itself, within the error that its row states."""
    return {(point, column): redrawn(rows[point], column, generator) for point, column in figures}


def percentiles(value: float, draws: np.ndarray) -> tuple[float, float]:
    """Those between which 95 % of the draws lie, wherever the value is."""
    low, high = (float(q) for q in np.quantile(draws, [0.025, 0.975]))
    return low, high


@dataclass(frozen=True)
class Reading:
    """`of` takes as many figures as there are, each float64 [] or [draws], and gives one number for each draw.

    `redraw` says what is uncertain in the figures, and `interval` makes (low, high) of the value and of its draws.
    """

    definition: str
    formula: str
    needed: Range
    of: Callable[..., np.ndarray]
    redraw: Redraw = each_within_its_error
    interval: Callable[[float, np.ndarray], tuple[float, float]] = percentiles

    def verdict(self, figures: Sequence[Figure], claim: OnRows, evidence: Evidence) -> Verdict:
        """The word for the 95 % interval that redrawing the figures gives, or why there is none."""
        published = as_printed(self.of, figures, evidence)
        try:
            return self._judged(figures, claim, evidence, published)
        except NotTested as reason:
            return Verdict.untested(self.definition, self.formula, self.needed, reason, published)

    def _judged(self, figures: Sequence[Figure], claim: OnRows, evidence: Evidence, published: float | None) -> Verdict:
        rows = {point: evidence.record(point) for point, _ in figures}
        unequal = differing(list(rows.values()), [column for _, column in figures], claim.unequal)
        value = float(self.of(*(np.asarray(figure(rows[point], column)) for point, column in figures)))
        if not np.isfinite(value):
            raise NotTested("the figures do not give a number")
        drawn = self.redraw(figures, rows, np.random.default_rng(0))
        low, high = self.interval(value, self.of(*(drawn[f] for f in figures)))
        word = word_for(self.needed, low, high)
        if not all(bounded(rows[point], column) for point, column in figures):
            word = "inconclusive"
        return Verdict(self.definition, self.formula, value, low, high, str(self.needed), published, word, "", unequal)
