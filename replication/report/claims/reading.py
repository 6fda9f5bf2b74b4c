"""One reading of a claim: a function of figures of rows, its interval, and the word for where that lies.

Figures are redrawn within the error that their rows state, which no formula has to linearise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from replication.harness.journal import Record
from replication.metrics.metric import metric_named
from replication.metrics.uncertainty import Z95
from replication.registry import METRICS
from replication.report.claims.claim import Claim, Point
from replication.report.claims.evidence import Evidence, differing
from replication.report.claims.verdict import NotTested, Range, Verdict

DRAWS = 20_000

# Seconds carry the range over chunks, in these columns.
RANGES = {
    "timing.seconds_per_image": ("timing.seconds_low", "timing.seconds_high"),
    "timing.image_seconds": ("timing.image_seconds_low", "timing.image_seconds_high"),
}


def by_factor(column: str) -> bool:
    """Whether it is positive and varies by a factor, which the log scale respects; others, such as KID, may be negative."""
    name = column.removeprefix("metric.")
    return column in RANGES or (name != column and name in METRICS.names() and metric_named(name).by_factor)


def figure(record: Record, column: str) -> float:
    """The row's number in that column; raises NotTested where it has none."""
    value = record.get(column)
    if not isinstance(value, int | float):
        raise NotTested(f"{_cell(record)} has no figure {column}")
    return float(value)


def redrawn(record: Record, column: str, generator: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """Draws of the figure within its standard error, float64 [draws]."""
    value, error = figure(record, column), standard_error(record, column)
    noise = generator.standard_normal(draws)
    return value * np.exp(error / value * noise) if by_factor(column) else value + error * noise


def standard_error(record: Record, column: str) -> float:
    """Of a row's figure. Counts such as NFE have none, and seconds have half of the range over chunks.

    Raises NotTested for a measured figure without an error in its row: it would pass for exact.
    """
    if column in RANGES:
        low, high = (figure(record, bound) for bound in RANGES[column])
        return (high - low) / (2 * Z95)
    if column.startswith(("metric.", "timing.")):
        if f"{column}_se" not in record:
            raise NotTested(f"{_cell(record)} has no interval for {column}")
        return figure(record, f"{column}_se")
    return 0.0


def bounded(record: Record, column: str) -> bool:
    """Whether the error is known at all: fewer than five chunks don't bound a median."""
    return column not in RANGES or figure(record, "timing.chunks") >= 5


def _cell(record: Record) -> str:
    return f"{record.get('label')} x {record.get('sampling.steps')}"


Figure = tuple[Point, str]  # a row's, by its point and column
Figures = Mapping[Figure, np.ndarray]  # float64 [draws] of each
Redraw = Callable[[Sequence[Figure], Mapping[Point, Record], np.random.Generator], Figures]


def each_within_its_error(
    figures: Sequence[Figure], rows: Mapping[Point, Record], generator: np.random.Generator, draws: int = DRAWS
) -> Figures:
    """Each figure redrawn by itself, within the error that its row states."""
    return {(point, column): redrawn(rows[point], column, generator, draws) for point, column in figures}


def percentiles(value: float, draws: np.ndarray) -> tuple[float, float]:
    """Those between which 95 % of the draws lie, wherever the value is."""
    low, high = (float(q) for q in np.quantile(draws, [0.025, 0.975]))
    return low, high


@dataclass(frozen=True)
class Reading:
    """`of` takes the figures, each float64 [] or [draws], and gives one number for each draw; without figures it is exact.

    `redraw` draws what is uncertain in the figures, and `interval` makes (low, high) of the value and of its draws. A
    `reason` is why there is nothing to judge.
    """

    definition: str
    formula: str
    needed: Range
    of: Callable[..., Any]
    figures: Sequence[Figure] = ()
    redraw: Redraw = each_within_its_error
    interval: Callable[[float, np.ndarray], tuple[float, float]] = percentiles
    reason: str = ""

    @classmethod
    def exact(cls, definition: str, formula: str, needed: Range, value: float) -> "Reading":
        """That of a number which has no error."""
        return cls(definition, formula, needed, lambda: value)

    def verdict(self, claim: Claim, evidence: Evidence) -> Verdict:
        """The word for the 95 % interval that redrawing the figures gives, or why there is none."""
        untested = Verdict(self.definition, self.formula, str(self.needed), self._as_printed(evidence))
        try:
            return self._judged(untested, claim, evidence)
        except NotTested as reason:
            return replace(untested, reason=str(reason))

    def _judged(self, untested: Verdict, claim: Claim, evidence: Evidence) -> Verdict:
        if reason := evidence.shortfall(claim) or self.reason:
            raise NotTested(reason)
        rows = {point: evidence.record(point) for point, _ in self.figures}
        unequal = differing(list(rows.values()), [column for _, column in self.figures], claim.unequal)
        value = float(self.of(*(np.asarray(figure(rows[point], column)) for point, column in self.figures)))
        if not np.isfinite(value):
            raise NotTested("the figures do not give a number")
        if not self.figures:
            return replace(untested, value=value, word=self.needed.word(value, value))
        drawn = self.redraw(self.figures, rows, np.random.default_rng(0))
        low, high = self.interval(value, self.of(*(drawn[f] for f in self.figures)))
        known = all(bounded(rows[point], column) for point, column in self.figures)
        word = self.needed.word(low, high) if known else "inconclusive"
        return replace(untested, value=value, low=low, high=high, word=word, differing=unequal)

    def _as_printed(self, evidence: Evidence) -> float | None:
        """`of` applied to what the papers print; None where they do not print all of it."""
        found: list[np.ndarray] = []
        for point, column in self.figures:
            if (value := evidence.printed(point, column)) is None:
                return None
            found.append(np.asarray(value))
        try:
            return float(self.of(*found)) if found else None
        except NotTested:
            return None
