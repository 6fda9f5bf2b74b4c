"""A trade-off: so much of the quality at so much of the speed.

"80 % of the quality" has no single meaning, so it is judged under each of them; the verdict often turns on the choice. A
meaning says something only if it can fail: each is also applied to the baseline and to a plainly bad row, and one
that either of them passes counts for nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from replication.registry import CLAIMS
from replication.report.claims.answer import LEADS, capitalised, listed, without_words
from replication.report.claims.claim import Claim, Point, Target
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Verdict, Word


class Meaning(NamedTuple):
    """Of quality or of speed; more is better. `of` takes the figures of the `roles` in one column; `way` is for the answer."""

    way: str
    title: str
    formula: str
    column: str
    roles: tuple[str, ...]
    of: Callable[..., float]


GAP = "(baseline - candidate) / (baseline - reference)"
TWO, THREE = ("candidate", "reference"), ("candidate", "reference", "baseline")
QUALITY = (
    Meaning("distance", "{title} ratio", "reference / candidate", "metric.fd_infinity", TWO, lambda c, r: r / c),
    Meaning("distance", "{title} ratio", "reference / candidate", "metric.kid", TWO, lambda c, r: r / c),
    Meaning("inception score", "{title} ratio", "candidate / reference", "metric.is", TWO, lambda c, r: c / r),
    Meaning(
        "share of the gap", "{title} gap closed", GAP, "metric.fd_infinity", THREE, lambda c, r, b: (b - c) / (b - r)
    ),
    Meaning("share of the gap", "{title} gap closed", GAP, "metric.kid", THREE, lambda c, r, b: (b - c) / (b - r)),
)
SPEED = (
    Meaning("evaluations", "speed in {title}", "reference / candidate", "sampling.nfe", TWO, lambda c, r: r / c),
    Meaning("time", "speed, measured", "reference / candidate", "timing.seconds_per_image", TWO, lambda c, r: r / c),
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
                    [
                        (candidate if role == "candidate" else getattr(self, role), meaning.column)
                        for role in meaning.roles
                    ]
                    for candidate in (self.candidate, *controls)
                )
                yield Reading(
                    meaning.title.format(title=evidence.title(meaning.column, self.candidate)),
                    meaning.formula,
                    target.range,
                    meaning.of,
                    figures,
                    controls={point.cell: of for point, of in zip(controls, of_controls, strict=True)},
                )

    def answer(self, verdicts: Sequence[Verdict]) -> str:
        """ "No by distance (72 % by A, 68 % by B), yes by ...; 50 times in evaluations (yes); the papers say 46 %." """
        if all(v.word == "not tested" for v in verdicts):
            return super().answer(verdicts)
        of_quality, of_speed = verdicts[: len(QUALITY)], verdicts[len(QUALITY) :]
        clauses = [_by_ways(of_quality, word) for word in LEADS if any(v.word == word for v in of_quality)]
        speeds = [
            f"{v.value:.3g} times in {meaning.way} ({LEADS[v.word]})"
            for meaning, v in zip(SPEED, of_speed, strict=True)
            if v.value is not None and v.word in LEADS
        ]
        printed = [
            f"{v.published:.0%} by {m.way}".replace("%", " %")
            for m, v in zip(QUALITY, of_quality, strict=True)
            if v.published is not None
        ]
        parts = [", ".join(clauses), *without_words(of_quality), listed(speeds) if speeds else ""]
        if printed:
            parts.append(f"the papers' own figures say {listed(printed)}")
        return capitalised(f"{'; '.join(filter(None, parts))}.")


def _by_ways(verdicts: Sequence[Verdict], word: Word) -> str:
    """ "no by distance (72 % by FD-infinity, 68 % by KID)", of the readings of quality that have the word."""
    found: dict[str, list[str]] = {}
    for meaning, v in zip(QUALITY, verdicts, strict=True):
        if v.word == word and v.value is not None:
            found.setdefault(meaning.way, []).append(f"{v.value * 100:.0f} % by {v.definition.split()[0]}")
    ways = [f"{way} ({', '.join(texts)})" for way, texts in found.items()]
    return f"{LEADS[word]} by {listed(ways)}"
