"""A verdict: one reading of a claim, its number with an interval, what the claim needs, and the word for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from replication.harness.cell import Cell
from replication.harness.claim import PROFILES, Statement
from replication.harness.experiment import Experiment
from replication.harness.journal import Record

Word = Literal["supported", "refuted", "inconclusive", "not tested"]


@dataclass(frozen=True)
class Verdict:
    """`value` in [low, high] with 95 % confidence; exact figures have no interval. `needed` says "at least" or "at most".

    `published` is the same figure from the papers' own numbers, where they print what it takes.
    """

    definition: str
    formula: str
    value: float | None
    low: float | None
    high: float | None
    needed: str
    published: float | None
    word: Word


@dataclass(frozen=True)
class Evidence:
    """What a claim is judged on: the rows of one profile of its experiment."""

    experiment: Experiment
    profile: str
    cells: Sequence[Cell]
    rows: Mapping[str, Record]

    def suffices(self, claim: Statement) -> bool:
        """Whether the profile is large enough to say anything about the claim."""
        return PROFILES.index(self.profile) >= PROFILES.index(claim.minimum_profile)


def at_least(threshold: float, low: float, high: float) -> Word:
    """The word for "at least threshold", given an interval."""
    return "supported" if low >= threshold else "refuted" if high < threshold else "inconclusive"


def at_most(threshold: float, low: float, high: float) -> Word:
    """The word for "at most threshold", given an interval."""
    return "supported" if high <= threshold else "refuted" if low > threshold else "inconclusive"
