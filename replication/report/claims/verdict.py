"""A verdict: one reading of a claim, its number with an interval, what the claim needs, and the word for it."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

Word = Literal["supported", "refuted", "inconclusive", "not tested"]


class Range(NamedTuple):
    """Where a claim needs its figure to be, ends included unless it is open."""

    low: float = -math.inf
    high: float = math.inf
    open: bool = False

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"{'above' if self.open else 'at least'} {self.low:.3g}"
        return f"at most {self.high:.3g}" if math.isinf(self.low) else f"{self.low:.3g} to {self.high:.3g}"


class NotTested(Exception):
    """A reading that can't be judged; the message is the reason that the verdict gives."""


@dataclass(frozen=True)
class Verdict:
    """`value` in [low, high] with 95 % confidence; exact figures have no interval. `needed` says where it must be.

    `published` is the same figure from the papers' own numbers, where they print what it takes. `reason` says why it was
    not tested, and `differing` in what the rows are unequal that were compared all the same.
    """

    definition: str
    formula: str
    value: float | None
    low: float | None
    high: float | None
    needed: str
    published: float | None
    word: Word
    reason: str = ""
    differing: tuple[str, ...] = ()

    @classmethod
    def exact(cls, definition: str, formula: str, value: float, needed: Range) -> "Verdict":
        """The verdict on a number that has no error."""
        return cls(definition, formula, value, None, None, str(needed), None, word_for(needed, value, value))

    @classmethod
    def untested(
        cls, definition: str, formula: str, needed: Range, reason: NotTested, published: float | None = None
    ) -> "Verdict":
        """The verdict on a reading that can't be judged."""
        return cls(definition, formula, None, None, None, str(needed), published, "not tested", str(reason))


def word_for(needed: Range, low: float, high: float) -> Word:
    """Whether the whole interval is where it must be, all of it elsewhere, or neither.

    One that touches the end of an open range is neither.
    """
    inside = needed.low < low and high < needed.high if needed.open else needed.low <= low and high <= needed.high
    if inside:
        return "supported"
    return "refuted" if high < needed.low or low > needed.high else "inconclusive"
