"""A trade-off: so much of the quality at so much of the speed.

"80 % of the quality" has no single meaning, so it is judged under each of them; the verdict often turns on the choice. A
meaning says something only if it can fail: each is also applied to the baseline and to a plainly bad row, and one
that either of them passes counts for nothing. A share of the gap between baseline and reference is none where the baseline
has the quality already, by the ratio of the same distance: it is 0 % by definition, whatever the gap.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from replication.registry import CLAIMS
from replication.report.claims.claim import Claim, Point, Target
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import BLIND, LEADS, NEITHER, Answer, Verdict, listed, not_tested


class Meaning(NamedTuple):
    """Of quality or of speed; more is better. `of` and what it divides `by` take figures in one column.

    They are those of the candidate, the reference and, where it `takes` three, the baseline. `way` is for the answer.
    """

    way: str
    title: str
    column: str
    formula: str
    takes: int
    of: Callable[..., float]
    by: Callable[..., float]


MORE = "more than claimed"  # of a quality or a speed beyond the band
LESS_IS_BETTER = ("reference / candidate", 2, lambda c, r: r / c, lambda c, r: c)
MORE_IS_BETTER = ("candidate / reference", 2, lambda c, r: c / r, lambda c, r: r)
OF_GAP = "(baseline - candidate) / (baseline - reference)"
GAP = (OF_GAP, 3, lambda c, r, b: (b - c) / (b - r), lambda c, r, b: b - r)
QUALITY = (
    Meaning("distance", "{title} ratio", "metric.fd_infinity", *LESS_IS_BETTER),
    Meaning("distance", "{title} ratio", "metric.kid", *LESS_IS_BETTER),
    Meaning("inception score", "{title} ratio", "metric.is", *MORE_IS_BETTER),
    Meaning("share of the gap", "{title} gap closed", "metric.fd_infinity", *GAP),
    Meaning("share of the gap", "{title} gap closed", "metric.kid", *GAP),
)
SPEED = (
    Meaning("evaluations", "speed in {title}", "sampling.nfe", *LESS_IS_BETTER),
    Meaning("time", "speed, measured", "timing.seconds_per_image", *LESS_IS_BETTER),
)


@CLAIMS.register("tradeoff")
class TradeOff(Claim):
    """`candidate` has `quality` times the quality of `reference` and `speed` times its speed: { about = 0.8 }, { above = 1 }.

    `baseline` is the candidate's budget spent the old way; it defines the share of the gap that is closed. Neither it nor
    the row `bad` may pass for the quality.
    """

    candidate: Point
    reference: Point
    baseline: Point
    bad: Point
    quality: Target
    speed: Target

    def readings(self, evidence: Evidence) -> Iterator[Reading]:
        """One for each meaning of quality and of speed."""
        for meanings, target, controls in ((QUALITY, self.quality, (self.baseline, self.bad)), (SPEED, self.speed, ())):
            for meaning in meanings:
                figures, *of_controls = (
                    [(point, meaning.column) for point in (candidate, self.reference, self.baseline)[: meaning.takes]]
                    for candidate in (self.candidate, *controls)
                )
                yield Reading(
                    meaning.title.format(title=evidence.title(meaning.column, self.candidate)),
                    meaning.formula,
                    target.range,
                    meaning.of,
                    figures,
                    controls={point.cell: of for point, of in zip(controls, of_controls, strict=True)},
                    divisor=meaning.by,
                )

    def judge(self, evidence: Evidence) -> list[Verdict]:
        """One verdict for each reading; of a gap, by whether there is one."""
        verdicts = super().judge(evidence)
        ratios = {m.column: v for m, v in zip(QUALITY, verdicts, strict=False) if m.takes == 2}
        return [
            self._of_gap(v, ratios[m.column]) if m.takes == 3 else v
            for m, v in zip((*QUALITY, *SPEED), verdicts, strict=True)
        ]

    def _of_gap(self, gap: Verdict, ratio: Verdict) -> Verdict:
        had = ratio.controls.get(self.baseline.cell)
        if gap.value is None or had is None or not gap.needed.reached(had):
            return gap
        return replace(gap, word="does not discriminate", reason=f"{self.baseline.cell} has {had:.3g} by ratio", p=None)

    def answers(self, verdicts: Sequence[Verdict]) -> list[Answer]:
        """Of the quality, "no by distance (72 % by A, 68 % by B), yes by ...; published figures say 46 %", and of the speed."""
        if all(v.word == "not tested" for v in verdicts):
            return super().answers(verdicts)
        of_quality, of_speed = verdicts[: len(QUALITY)], verdicts[len(QUALITY) :]
        by_ways = [by for lead in (*LEADS.values(), MORE, BLIND) if (by := _by_ways(of_quality, lead))]
        passing = dict.fromkeys(
            cell for v in of_quality for cell, got in v.controls.items() if got is not None and v.needed.reached(got)
        )
        too = f" as {listed(list(passing))} {'pass' if len(passing) > 1 else 'passes'} too" if passing else ""
        quality = [", ".join(text for text, _ in by_ways) + too, *not_tested(of_quality)]
        printed = [
            f"{100 * v.published:.0f} % by {meaning.way}"
            for meaning, v in zip(QUALITY, of_quality, strict=True)
            if v.published is not None
        ]
        papers = [f"published figures say {listed(printed)}"] if printed else []
        times = [
            f"{v.value:.3g} times in {meaning.way} ({lead})"
            for meaning, v in zip(SPEED, of_speed, strict=True)
            if (lead := _lead(v))
        ]
        speed = [listed(times), *not_tested(of_speed)]
        short = [", ".join(ways for _, ways in by_ways) or NEITHER, *papers]
        return [
            Answer("quality", _sentence(quality + papers), _sentence(short), of_quality, share=True),
            Answer("speed", _sentence(speed), _sentence(speed), of_speed),
        ]


def _sentence(parts: Sequence[str]) -> str:
    return f"{'; '.join(filter(None, parts))}."


def _lead(verdict: Verdict) -> str:
    """The word as the answer has it; empty without one."""
    if verdict.word == "refuted" and verdict.value is not None and verdict.value > verdict.needed.high:
        return MORE
    return BLIND if verdict.word == "does not discriminate" else LEADS.get(verdict.word, "")


def _by_ways(verdicts: Sequence[Verdict], lead: str) -> tuple[str, str] | None:
    """ "no by distance (72 % [60, 75] by FD-infinity)" and "no by distance", of the readings of quality that have it."""
    found: dict[str, list[str]] = {}
    for meaning, v in zip(QUALITY, verdicts, strict=True):
        if _lead(v) == lead and v.value is not None:
            interval = ""
            if v.low is not None and v.high is not None:
                interval = f" [{100 * v.low:.0f}, {100 * v.high:.0f}]"
            found.setdefault(meaning.way, []).append(f"{100 * v.value:.0f} %{interval} by {v.definition.split()[0]}")
    ways = [f"{way} ({', '.join(texts)})" for way, texts in found.items()]
    return (f"{lead} by {listed(ways)}", f"{lead} by {listed(list(found))}") if ways else None
