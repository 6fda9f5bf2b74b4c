"""A quantity that is computed and not measured: a claim about it needs no rows and has no interval."""

import math
from abc import ABC, abstractmethod


class Quantity(ABC):
    """`title` is what is measured, `formula` how; both are printed beside the value."""

    title: str
    formula: str

    @abstractmethod
    def value(self) -> float:
        """The number, in float64."""


def magnitude(deviation: float) -> float:
    """The next power of ten, 0 for none: how a deviation of rounding alone is printed, since its digits are a machine's."""
    return 10.0 ** math.ceil(math.log10(deviation)) if deviation else 0.0
