"""A choice that people make differently: its name, the settings it may take in place of the base's, and where it was seen."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from replication.harness.forensics.measurement import Measurement
from replication.harness.jobs.cell import Cell


class Inapplicable(Exception):
    """This choice is none here; the message says what it needs."""


@dataclass(frozen=True)
class Alternative:
    """One choice taken differently, as it is printed, and the measurement that it makes of the base.

    noise: nothing but the draw of the images differs, so that any move is one of chance.
    """

    choice: str
    before: str
    after: str
    to: Measurement
    noise: bool = False


Settings = Callable[[Measurement], Iterator[Alternative]]


@dataclass(frozen=True)
class Choice:
    """`settings` yields the alternatives to a base, or raises Inapplicable. `source`: paper, code line or thread."""

    name: str
    source: str
    settings: Settings


def made_by_cell(base: Measurement) -> Cell:
    """The cell behind the base's images; raises Inapplicable where they were given as files."""
    if base.samples.cell is None:
        raise Inapplicable("needs a checkpoint")
    return base.samples.cell
