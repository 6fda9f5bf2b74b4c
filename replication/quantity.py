"""A quantity that is computed and not measured: a claim about it needs no rows and has no interval."""

from abc import ABC, abstractmethod


class Quantity(ABC):
    """`title` says of what, `formula` how; both are printed beside the value."""

    title: str
    formula: str

    @abstractmethod
    def value(self) -> float:
        """The number, in float64."""
