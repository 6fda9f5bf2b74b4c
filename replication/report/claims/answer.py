"""The answer to a claim in one sentence, made from its verdicts, for a reader in a hurry.

Yes: FD-infinity of A over B is 0.83 [0.66, 0.99], and must be below 1.
No by X (1.4 [1.2, 1.6]) and 2 more, yes by Y (0.9 [0.8, 1.0]); it must be at most 1.1.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from replication.report.claims.verdict import Verdict, Word

LEADS: dict[Word, str] = {"refuted": "no", "supported": "yes", "inconclusive": "undecided"}
BOTH, NEITHER = "yes and no", "not tested"
SHOWN = 1  # readings of a word; the others are counted


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
        """In a word: "yes", "no", or both by different readings; "undecided" as soon as one of them is."""
        words = {v.word for v in self.verdicts if v.word in LEADS}
        if len(words) > 1:
            return LEADS["inconclusive"] if "inconclusive" in words else BOTH
        return LEADS[words.pop()] if words else NEITHER


def general_answer(verdicts: Sequence[Verdict]) -> str:
    """By which reading the claim holds and by which not, each with its figure; or why there is no answer."""
    judged = [v for v in verdicts if v.word in LEADS]
    if len(verdicts) == len(judged) == 1:
        (only,) = judged
        why = f" ({only.reason})" if only.reason else ""
        return f"{capitalised(LEADS[only.word])}: {only.definition} is {only.measured}, and must be {only.needed}{why}."
    clauses = [clause for word in LEADS if (clause := by_word(judged, word, _reading))]
    parts = [", ".join(clauses), *without_words(verdicts)]
    if len(needs := {v.needed for v in judged}) == 1:
        parts.append(f"it must be {needs.pop()}")
    return capitalised(f"{'; '.join(filter(None, parts))}.")


def by_word(verdicts: Sequence[Verdict], word: Word, text: Callable[[Verdict], str]) -> str:
    """ "no by A and B, and 3 more", of the verdicts that have the word; empty without any."""
    texts = [text(v) for v in verdicts if v.word == word]
    more = [f"{len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return f"{LEADS[word]} by {listed(texts[:SHOWN] + more)}" if texts else ""


def without_words(verdicts: Sequence[Verdict]) -> list[str]:
    """Why readings say nothing: each that does not discriminate, and how many are not tested, by their reasons."""
    found = [
        f"{v.definition} does not discriminate ({v.reason})" for v in verdicts if v.word == "does not discriminate"
    ]
    if untested := [v for v in verdicts if v.word == "not tested"]:
        count = f"{len(untested)} of {len(verdicts)} readings " if len(untested) < len(verdicts) else ""
        found.append(f"{count}not tested: {'; '.join(dict.fromkeys(v.reason for v in untested))}")
    return found


def listed(texts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))


def capitalised(text: str) -> str:
    """With a capital at the start, the rest as it is."""
    return text[:1].upper() + text[1:]


def _reading(verdict: Verdict) -> str:
    return f"{verdict.definition} ({verdict.measured})"
