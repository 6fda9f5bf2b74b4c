"""A verdict: one reading of a claim, its number with an interval, what the claim needs, and the word for it."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from replication.report.tables import MARK

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

    def word(self, low: float, high: float) -> Word:
        """Whether the whole interval lies here, all of it elsewhere, or neither, as one that touches an open end."""
        if self.low < low and high < self.high if self.open else self.low <= low and high <= self.high:
            return "supported"
        return "refuted" if high < self.low or low > self.high else "inconclusive"


class NotTested(Exception):
    """A reading that can't be judged; the message is the reason that the verdict gives."""


@dataclass(frozen=True)
class Verdict:
    """`value` in [low, high] with 95 % confidence; exact figures have no interval. `needed`: where it must be.

    `published` is the same figure from the papers' own numbers, where they print what it takes. `reason`: why it was not
    tested; `differing`: in what the rows are unequal that were compared all the same.
    """

    definition: str
    formula: str
    needed: str
    published: float | None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    word: Word = "not tested"
    reason: str = ""
    differing: tuple[str, ...] = ()

    @property
    def marked(self) -> str:
        """The word, with a mark where unequal rows were compared."""
        return f"{self.word} {MARK}" if self.differing else self.word
