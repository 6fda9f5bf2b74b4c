"""A quantity that is computed and not measured: a claim on it needs no rows and has no interval. And those of stated costs.

What it takes to train a network of stated costs: memory of a step, and time on a device of stated speed.

    memory   (4 values for each parameter: weight, gradient and Adam's two moments; and each image's activations) x 4 bytes
    time     3 forward passes a step for each image, over the multiply-adds per second that the device reaches

The counts are those of replication/cost.py, given as numbers so that a report need not build networks. The memory is
that of a plain step in float32: the whole batch at once, every activation kept, neither an EMA nor what the
allocator wastes. Half precision, recomputed activations and accumulated gradients take less, at a price of their own.
"""

import math
from abc import ABC, abstractmethod

from replication.cost import FORWARDS_PER_STEP
from replication.registry import QUANTITIES
from replication.types import InputError

VALUES_PER_PARAMETER, BYTES = 4, 4
DAY = 86400


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


@QUANTITIES.register("training_gigabytes")
class TrainingGigabytes(Quantity):
    """Memory of a training step in GB (1e9 bytes). activation_bytes: of one image; `of`: what is trained, in words."""

    def __init__(self, of: str, parameters: int, activation_bytes: int, batch_size: int):
        _require_positive(parameters=parameters, activation_bytes=activation_bytes, batch_size=batch_size)
        each = VALUES_PER_PARAMETER * BYTES
        images = f"{batch_size} images x {activation_bytes / 1e6:,.0f} MB"
        self.title = f"GB of a training step: {of}"
        self.formula = f"{each} B x {parameters / 1e6:,.0f} M parameters + {images}"
        self.bytes = each * parameters + batch_size * activation_bytes

    def value(self) -> float:
        return self.bytes / 1e9


@QUANTITIES.register("training_days")
class TrainingDays(Quantity):
    """Days of training. multiply_adds: of one image and one forward pass; per_second: what the device reaches."""

    def __init__(self, of: str, multiply_adds: int, batch_size: int, steps: int, per_second: float):
        _require_positive(multiply_adds=multiply_adds, batch_size=batch_size, steps=steps, per_second=per_second)
        self.seconds = FORWARDS_PER_STEP * multiply_adds * batch_size / per_second  # of a step
        self.steps = steps
        self.title = f"days of training: {of}"
        self.formula = f"{self.seconds:.3g} s a step of {batch_size} images x {steps:,} steps"

    def value(self) -> float:
        return self.seconds * self.steps / DAY


def _require_positive(**counts: float) -> None:
    for name, count in counts.items():
        if count <= 0:
            raise InputError(f"{name} is positive, not {count:g}")
