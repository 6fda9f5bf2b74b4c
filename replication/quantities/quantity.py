"""A quantity that is computed and not measured: a claim on it needs no rows and has no interval."""

import math
from abc import ABC, abstractmethod

from replication.registry import QUANTITIES
from replication.types import InputError


class Quantity(ABC):
    """`title` is what is measured, `formula` how; both are printed beside the value."""

    title: str
    formula: str

    @abstractmethod
    def value(self) -> float:
        """The number, in float64."""


@QUANTITIES.register("values")
class Values(Quantity):
    """How many values an array of this shape holds: what images are compressed from and to."""

    def __init__(self, shape: list[int]):
        if not shape or min(shape) < 1:
            raise InputError(f"a shape has positive sides, not {shape}")
        self.title, self.formula, self.shape = "x".join(map(str, shape)), "values", shape

    def value(self) -> float:
        return float(math.prod(self.shape))
