"""A verdict: one reading of a claim, its number with an interval, what the claim needs, and the word for it.

A claim with several readings has several chances of a wrong word, so their words are corrected by Holm (1979): the word
of the k-th smallest of m p-values stands if every p up to it, times m less those before it, is at most 5 %. Then
the probability that any of the words "supported" and "refuted" of a claim is wrong is at most 5 %, however the readings
depend on each other. Exact figures cannot be wrong by chance and take no part.

    p    of a word is the level at which the interval would touch the nearest end of what is needed: 0.05 where the 95 %
         interval does. Beyond the 2.5 % quantiles that the draws resolve, each tail is taken as a normal one of that side's
         own width: z = 1.96 (value - end) / (value - low) below the value, and likewise above it.

An answer is what the verdicts come to in one sentence: "Yes: FD of A over B is 0.83 [0.66, 0.99], and must be below 1."
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from replication.metrics.uncertainty import Z95
from replication.report.tables import MARK, STALE

Word = Literal["supported", "refuted", "inconclusive", "does not discriminate", "not judged", "not tested"]
TURNED = "§"  # on a word that was another one at half of the training, and may turn again
LEVEL = 0.05  # of all words of a claim together
LEADS: dict[Word, str] = {"refuted": "no", "supported": "yes", "inconclusive": "undecided"}
BOTH, NEITHER = "yes and no", "not tested"
BLIND = "no answer"  # where a bad row has what is asked for too
SHOWN = 1  # readings of a word; the others are counted


class Range(NamedTuple):
    """Where a claim needs its figure to be, ends included unless it is open; one without ends needs nothing."""

    low: float = -math.inf
    high: float = math.inf
    open: bool = False

    @property
    def endless(self) -> bool:
        """Whether nothing is needed: the figure stands beside others for comparison, and isn't judged."""
        return math.isinf(self.low) and math.isinf(self.high)

    def __str__(self) -> str:
        if self.endless:
            return ""
        if math.isinf(self.high):
            return f"{'above' if self.open else 'at least'} {self.low:.3g}"
        if math.isinf(self.low):
            return f"{'below' if self.open else 'at most'} {self.high:.3g}"
        return f"{self.low:.3g} to {self.high:.3g}"

    def holds(self, value: float) -> bool:
        """Whether the value lies here."""
        return self.low < value < self.high if self.open else self.low <= value <= self.high

    def reached(self, value: float) -> bool:
        """The same, or beyond it where there is a least: what is as good as needed, or better."""
        return self.holds(value) or (value > self.high and not math.isinf(self.low))

    def word(self, low: float, high: float) -> Word:
        """Whether the whole interval lies here, all of it elsewhere, or neither, as one that touches an open end."""
        if self.holds(low) and self.holds(high):
            return "supported"
        return "refuted" if high < self.low or low > self.high else "inconclusive"

    def p_value(self, value: float, low: float, high: float) -> float:
        """Of whichever word the value speaks for, two-sided (see above); low <= value <= high is its 95 % interval."""
        return max(_reaches(end, value, low, high) for end in (self.low, self.high))


def _reaches(end: float, value: float, low: float, high: float) -> float:
    if math.isinf(end):
        return 0.0
    width = value - low if end < value else high - value
    if end == value or width <= 0:
        return float(end == value)
    return math.erfc(Z95 * abs(end - value) / width / math.sqrt(2))


class NotTested(Exception):
    """A reading that can't be judged; the message is the reason that the verdict gives."""


@dataclass(frozen=True)
class Verdict:
    """`value` in [low, high] with 95 % confidence; exact figures have no interval. `needed`: where it must be.

    `published` is the same figure from the papers' own numbers, where they print what it takes, and `source` the table that
    has them. `reason`: why it was not tested, or why its word is not that of the interval alone; `differing`: in what the
    rows are unequal that were compared all the same, and `also` in what that does not forbid it; `stale`: in what versions
    rows are not today's. `pairing`: how the rows' errors go together. `at_half`: the word at half of the training, where that
    was another one.
    `p`: of the word, corrected by Holm for the claim's other readings; None where there is no test. `controls`: what
    rows get under this definition that should not pass, by cell; None for one that is not run.
    """

    definition: str
    formula: str
    needed: Range
    published: float | None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    word: Word = "not tested"
    reason: str = ""
    differing: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    pairing: str = ""
    p: float | None = None
    controls: Mapping[str, float | None] = field(default_factory=dict, hash=False)
    source: str = ""
    stale: str = ""
    at_half: str = ""

    @property
    def marked(self) -> str:
        """The word, with marks where unequal rows were compared, where rows are of earlier versions, and where it turned."""
        return " ".join([self.word, *marks([self])])

    @property
    def measured(self) -> str:
        """The figure with its interval, empty where there is none."""
        interval = "" if self.low is None else f" [{self.low:.3g}, {self.high:.3g}]"
        return "" if self.value is None else f"{self.value:.3g}{interval}"


def marks(verdicts: Sequence[Verdict]) -> list[str]:
    """Of any of the verdicts: unequal rows that were compared, rows of earlier versions, "fd 1 -> 2", a word that turned."""
    stale = "; ".join(dict.fromkeys(v.stale for v in verdicts if v.stale))
    turned = "; ".join(dict.fromkeys(v.at_half for v in verdicts if v.at_half))
    return [
        *[MARK] * any(v.differing for v in verdicts),
        *[f"{STALE} (of earlier versions: {stale})"] * bool(stale),
        *[f"{TURNED} (at half of the training: {turned})"] * bool(turned),
    ]


def corrected(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts of one claim, each p adjusted by Holm; a word that does not stand the correction is "inconclusive"."""
    found = list(verdicts)
    family = sorted((v.p, i) for i, v in enumerate(verdicts) if v.p is not None)
    adjusted = 0.0
    for rank, (p, i) in enumerate(family):
        adjusted = max(adjusted, min(1.0, (len(family) - rank) * p))
        found[i] = replace(found[i], p=adjusted)
        if found[i].word != "inconclusive" and len(family) > 1 and adjusted > LEVEL:
            reason = f"{found[i].word} by itself, but not among {len(family)} readings: p = {adjusted:.2g} by Holm"
            found[i] = replace(found[i], word="inconclusive", reason=reason)
    return found


class Answer(NamedTuple):
    """To one side of a claim: `of` is "quality" or "speed" of a trade-off, and empty where there is one side alone.

    `text` is the sentence, `short` the same without our figures, `verdicts` those of the readings that decide. Where a figure
    is a share, it is printed in percent.
    """

    of: str
    text: str
    short: str
    verdicts: Sequence[Verdict]
    share: bool = False

    @property
    def lead(self) -> str:
        """In a word: "yes", "no", or both by different readings; "undecided" as soon as one of them is; else why it is none."""
        words = {v.word for v in self.verdicts if v.word in LEADS}
        if len(words) > 1:
            return LEADS["inconclusive"] if "inconclusive" in words else BOTH
        if words:
            return LEADS[words.pop()]
        return BLIND if any(v.word == "does not discriminate" for v in self.verdicts) else NEITHER


def general_answer(verdicts: Sequence[Verdict]) -> str:
    """By which reading the claim holds and by which not, each with its figure; or why there is no answer."""
    judged = [v for v in verdicts if v.word in LEADS]
    if len(verdicts) == len(judged) == 1:
        (only,) = judged
        why = f" ({only.reason})" if only.reason else ""
        return f"{capitalised(LEADS[only.word])}: {only.definition} is {only.measured}, and must be {only.needed}{why}."
    clauses = []  # "no by A and 3 more"
    for word, lead in LEADS.items():
        texts = [f"{v.definition} ({v.measured})" for v in judged if v.word == word]
        more = [f"{len(texts) - SHOWN} more"] * (len(texts) > SHOWN)
        if texts:
            clauses.append(f"{lead} by {listed(texts[:SHOWN] + more)}")
    parts = [", ".join(clauses), *not_tested(verdicts)]
    if len(needs := {v.needed for v in judged}) == 1:
        parts.append(f"it must be {needs.pop()}")
    return capitalised(f"{'; '.join(filter(None, parts))}.")


def not_tested(verdicts: Sequence[Verdict]) -> list[str]:
    """How many of the readings are not tested, by first reasons; nothing where all of them are tested."""
    if not (untested := [v for v in verdicts if v.word == "not tested"]):
        return []
    count = f"{len(untested)} of {len(verdicts)} readings " if len(untested) < len(verdicts) else ""
    reasons = dict.fromkeys(v.reason.partition("; ")[0] for v in untested)
    return [f"{count}not tested: {'; '.join(reasons)}"]


def listed(texts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"; empty without any."""
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))


def capitalised(text: str) -> str:
    """With a capital at the start, the rest as it is."""
    return text[:1].upper() + text[1:]
