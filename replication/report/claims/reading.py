"""One reading of a claim: a function of figures of rows, its interval, and the word for where that lies."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from replication.harness.versions import concerning, reasons
from replication.report.claims.claim import Claim
from replication.report.claims.draws import Figure, Redraw, Rows, bounded, figure, percentiles, together
from replication.report.claims.evidence import Evidence, differing
from replication.report.claims.verdict import LEVEL, NotTested, Range, Verdict, Word
from replication.report.compare import Resampled, bias_decides, named_differences

POWER = 0.8  # of a test, below which it supports nothing


@dataclass(frozen=True)
class Reading:
    """`of` takes the figures, each float64 [] or [draws], and gives one number for each draw; without figures it is exact.

    `redraw` draws what is uncertain in the figures, and `interval` makes (low, high) of the value and of its draws. A
    `reason` is why there is nothing to judge. `power`: with which probability the test would refute the claim if it were
    wrong by as much as the reading means to exclude; under POWER, "supported" becomes "inconclusive". `p`: of the word for
    a number without figures that a test made of draws; above LEVEL it is "inconclusive" too. `controls`: by the name of a
    cell, the figures of rows that must not pass under this definition. If one does, it does not discriminate; if none is
    run, nobody knows whether it does. `divisor` takes what `of` takes, and gives what `of` divides by: a ratio says
    something where that is above 0, with its interval.
    """

    definition: str
    formula: str
    needed: Range
    of: Callable[..., Any]
    figures: Sequence[Figure] = ()
    redraw: Redraw = together
    interval: Callable[[float, np.ndarray], tuple[float, float]] = percentiles
    reason: str = ""
    power: float | None = None
    p: float | None = None
    controls: Mapping[str, Sequence[Figure]] = field(default_factory=dict)
    divisor: Callable[..., Any] | None = None

    @classmethod
    def exact(
        cls,
        definition: str,
        formula: str,
        needed: Range,
        value: float,
        power: float | None = None,
        p: float | None = None,
    ) -> "Reading":
        """That of a number which has no error, or that a test gives, with the test's power and the p of the word."""
        return cls(definition, formula, needed, lambda: value, power=power, p=p)

    def verdict(self, claim: Claim, evidence: Evidence) -> Verdict:
        """The word for the 95 % interval that redrawing the figures gives, or why there is none."""
        published, source = self._as_printed(evidence)
        untested = Verdict(self.definition, self.formula, self.needed, published, source=source)
        try:
            return self._judged(untested, claim, evidence)
        except NotTested as reason:
            return replace(untested, reason=str(reason))

    def _judged(self, untested: Verdict, claim: Claim, evidence: Evidence) -> Verdict:
        if reason := evidence.shortfall(claim) or self.reason:
            raise NotTested(reason)
        rows = {point: evidence.row(point) for point, _ in self.figures}
        controls = {cell: _there(figures, evidence) for cell, figures in self.controls.items()}
        used = {point: row for found in (rows, *controls.values()) for point, row in found.items()}.values()
        records, columns = [row.record for row in used], dict.fromkeys(column for _, column in self.figures)
        unequal, also = differing(records, columns, claim.unequal), tuple(named_differences(records))
        for column in columns:
            if why := bias_decides((row.record for row in rows.values()), column):
                raise NotTested(why)
        value = self._value(self.figures, rows)
        if not np.isfinite(value):
            raise NotTested("the figures do not give a number")
        of_controls = {cell: self._value(self.controls[cell], of) if of else None for cell, of in controls.items()}
        stale = _stale(used, columns)
        found = replace(untested, value=value, differing=unequal, also=also, stale=stale, controls=of_controls)
        decided = self._discriminating(self._powerful(self._decided(found, value, rows)))
        return replace(decided, word="not judged", p=None) if self.needed.endless else decided

    def _decided(self, verdict: Verdict, value: float, rows: Rows) -> Verdict:
        """The word for the value where no figure varies, else for its interval; "inconclusive" if an error is unknown."""
        drawn = self.redraw(self.figures, rows, np.random.default_rng(0))
        if not any(np.ptp(drawn.figures[f]) for f in self.figures):
            word: Word = "supported" if self.needed.holds(value) else "refuted"
            return replace(verdict, word="inconclusive" if (self.p or 0.0) > LEVEL else word, p=self.p)
        low, high = self.interval(value, self.of(*(drawn.figures[f] for f in self.figures)))
        found = replace(verdict, low=low, high=high, pairing=drawn.pairing)
        if self.divisor is not None:
            by = self.divisor(*(drawn.figures[f] for f in self.figures))
            if percentiles(0.0, by)[0] <= 0:
                return replace(found, word="inconclusive", reason="the interval of what is divided by reaches 0")
        if not all(bounded(rows[point].record, column) for point, column in self.figures):
            return replace(found, word="inconclusive", reason="fewer than five chunks were timed: they bound no median")
        return replace(found, word=self.needed.word(low, high), p=self.needed.p_value(value, low, high))

    def _powerful(self, verdict: Verdict) -> Verdict:
        if self.power is None or self.power >= POWER or verdict.word == "refuted":
            return verdict
        reason = f"the test would find a difference with a probability of {self.power:.2f}, under {POWER}"
        return replace(verdict, word="inconclusive", reason=reason)

    def _discriminating(self, verdict: Verdict) -> Verdict:
        run = {cell: value for cell, value in verdict.controls.items() if value is not None}
        if verdict.controls and not run:
            reason = f"whether a bad row passes too is not known: not run are {' and '.join(verdict.controls)}"
            return replace(verdict, word="inconclusive", reason=reason, p=None)
        passing = [f"{cell} gets {value:.3g}" for cell, value in run.items() if self.needed.reached(value)]
        if not passing:
            return verdict
        return replace(verdict, word="does not discriminate", reason=" and ".join(passing), p=None)

    def _value(self, figures: Sequence[Figure], rows: Rows) -> float:
        taken = [np.asarray(figure(rows[point].record, column)) for point, column in figures]
        if self.divisor is not None and (by := float(self.divisor(*taken))) <= 0:
            raise NotTested(f"what is divided by is not above 0: {by:.3g} of {' and '.join(p.cell for p in rows)}")
        with np.errstate(divide="ignore", invalid="ignore"):  # no number is refused by name
            return float(self.of(*taken))

    def _as_printed(self, evidence: Evidence) -> tuple[float | None, str]:
        """`of` applied to what the papers print, and where they do; None where they do not print all of it."""
        if (found := evidence.printed(self.figures)) is None:
            return None, ""
        values, source = found
        try:
            return float(self.of(*map(np.asarray, values))), source
        except NotTested:
            return None, ""


def _there(figures: Sequence[Figure], evidence: Evidence) -> Rows:
    """The rows of a control; none of them where one is not there."""
    try:
        return {point: evidence.row(point) for point, _ in figures}
    except NotTested:
        return {}


def _stale(rows: Iterable[Resampled], columns: Iterable[str]) -> str:
    """In which versions that these columns hang on rows are not today's: "fd 1 -> 2"."""
    concerned = [{n: c for column in columns for n, c in concerning(row.changes, column).items()} for row in rows]
    return "; ".join(dict.fromkeys(reasons(found) for found in concerned if found))
