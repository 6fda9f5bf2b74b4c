"""How many values an array holds: what a compression of images to latents is counted in."""

import math

from replication.quantities.quantity import Quantity
from replication.registry import QUANTITIES
from replication.types import InputError


@QUANTITIES.register("values")
class Values(Quantity):
    """How many values an array of this shape holds; InputError unless all sides are positive."""

    def __init__(self, shape: list[int]):
        if not shape or min(shape) < 1:
            raise InputError(f"a shape has positive sides, not {shape}")
        self.title, self.formula = "x".join(map(str, shape)), "values"
        self._count = math.prod(shape)

    def value(self) -> float:
        return float(self._count)
