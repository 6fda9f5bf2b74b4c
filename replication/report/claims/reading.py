"""One reading of a claim: a function of figures of rows, its interval, and the word for where that lies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from replication.harness.journal import Record
from replication.report.claims.claim import Claim
from replication.report.claims.draws import Figure, Redraw, Rows, bounded, figure, percentiles, together
from replication.report.claims.evidence import Evidence, differing
from replication.report.claims.verdict import NotTested, Range, Verdict
from replication.report.compare import named_differences

PER_FEATURE = 100  # images for each feature, from which on the bias of FD (about D / n of its scale) does not decide
POWER = 0.8  # of a test, below which it supports nothing


@dataclass(frozen=True)
class Reading:
    """`of` takes the figures, each float64 [] or [draws], and gives one number for each draw; without figures it is exact.

    `redraw` draws what is uncertain in the figures, and `interval` makes (low, high) of the value and of its draws. A
    `reason` is why there is nothing to judge. `power`: with which probability the test would refute the claim if it were
    wrong by as much as the reading means to exclude; under POWER, "supported" becomes "inconclusive". `controls`: by the
    name of a cell, the figures of rows that must not pass under this definition. If one does, it does not discriminate.
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
    controls: Mapping[str, Sequence[Figure]] = field(default_factory=dict)

    @classmethod
    def exact(cls, definition: str, formula: str, needed: Range, value: float, power: float | None = None) -> "Reading":
        """That of a number which has no error."""
        return cls(definition, formula, needed, lambda: value, power=power)

    def verdict(self, claim: Claim, evidence: Evidence) -> Verdict:
        """The word for the 95 % interval that redrawing the figures gives, or why there is none."""
        untested = Verdict(self.definition, self.formula, self.needed, self._as_printed(evidence))
        try:
            return self._judged(untested, claim, evidence)
        except NotTested as reason:
            return replace(untested, reason=str(reason))

    def _judged(self, untested: Verdict, claim: Claim, evidence: Evidence) -> Verdict:
        if reason := evidence.shortfall(claim) or self.reason:
            raise NotTested(reason)
        rows = {point: evidence.measured(point) for point, _ in self.figures}
        controls = {cell: _there(figures, evidence) for cell, figures in self.controls.items()}
        records = {point: row.record for found in (rows, *controls.values()) for point, row in found.items()}
        columns = [column for _, column in self.figures]
        unequal = differing(list(records.values()), columns, claim.unequal)
        first, rest = next(iter(records.values()), {}), list(records.values())[1:]
        also = tuple(dict.fromkeys(difference for record in rest for difference in named_differences(first, record)))
        for point, column in self.figures:
            _refuse_bias(rows[point].record, column)
        value = self._value(self.figures, rows)
        if not np.isfinite(value):
            raise NotTested("the figures do not give a number")
        of_controls = {cell: self._value(self.controls[cell], of) if of else None for cell, of in controls.items()}
        found = replace(untested, value=value, differing=unequal, also=also, controls=of_controls)
        decided = self._discriminating(self._powerful(self._decided(found, value, rows)))
        return replace(decided, word="not judged", p=None) if self.needed.endless else decided

    def _decided(self, verdict: Verdict, value: float, rows: Rows) -> Verdict:
        """The word for the value where no figure varies, else for its interval; "inconclusive" if an error is unknown."""
        drawn = self.redraw(self.figures, rows, np.random.default_rng(0))
        if not any(np.ptp(drawn.figures[f]) for f in self.figures):
            return replace(verdict, word="supported" if self.needed.holds(value) else "refuted")
        low, high = self.interval(value, self.of(*(drawn.figures[f] for f in self.figures)))
        found = replace(verdict, low=low, high=high, pairing=drawn.pairing)
        if not all(bounded(rows[point].record, column) for point, column in self.figures):
            return replace(found, word="inconclusive")
        return replace(found, word=self.needed.word(low, high), p=self.needed.p_value(value, low, high))

    def _powerful(self, verdict: Verdict) -> Verdict:
        if self.power is None or self.power >= POWER or verdict.word != "supported":
            return verdict
        reason = f"the test would find a difference with a probability of {self.power:.2f}, under {POWER}"
        return replace(verdict, word="inconclusive", reason=reason, p=None)

    def _discriminating(self, verdict: Verdict) -> Verdict:
        passing = [c for c, value in verdict.controls.items() if value is not None and self.needed.reached(value)]
        if not passing:
            return verdict
        reason = " and ".join(f"{cell} gets {verdict.controls[cell]:.3g}" for cell in passing)
        return replace(verdict, word="does not discriminate", reason=reason, p=None)

    def _value(self, figures: Sequence[Figure], rows: Rows) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):  # no number is refused by name
            return float(self.of(*(np.asarray(figure(rows[point].record, column)) for point, column in figures)))

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


def _there(figures: Sequence[Figure], evidence: Evidence) -> Rows:
    """The rows of a control; none of them where one is not there."""
    try:
        return {point: evidence.measured(point) for point, _ in figures}
    except NotTested:
        return {}


def _refuse_bias(record: Record, column: str) -> None:
    """Raises NotTested for a plain FD of few images: its bias pulls ratios towards 1 and differences towards 0."""
    if column != "metric.fd":
        return
    n, width = figure(record, "protocol.n"), figure(record, "protocol.features")
    if n < PER_FEATURE * width:
        raise NotTested(
            f"the plain FD judges from n = 100 D on, or its bias does: here n = {n:,.0f}, D = {width:,.0f}; "
            "take metric.fd_infinity or metric.kid"
        )
