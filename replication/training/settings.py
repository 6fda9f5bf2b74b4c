"""The settings of a training, whichever network it is of."""

import math
from typing import Any

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from replication.datasets.dataset import Dataset
from replication.numerics import Precision
from replication.settings import Shared
from replication.types import InputError

LATER = ("weight_decay", "ema_warmup", "accumulate", "warmup_start", "crop")


class Training(Shared):
    """Adam (eps 1e-8) with warm-up, global gradient clipping and EMA: Ho et al. 2020, appendix B.

    LDM trains with AdamW, whose weight decay is 0.01 where its code leaves it open, and lets the averaging's decay climb.
    """

    steps: PositiveInt
    batch_size: PositiveInt  # images of one step
    accumulate: PositiveInt = 1  # equal parts of a batch that go through one after the other, their gradients averaged
    learning_rate: PositiveFloat
    warmup: int = Field(ge=0)  # steps over which the rate climbs, linearly
    warmup_start: float = Field(default=0.0, ge=0, lt=1)  # the share of the rate that it climbs from
    grad_clip: float = Field(default=1.0, ge=0)  # of the whole gradient's norm; 0: none
    ema_decay: float = Field(ge=0, lt=1)
    flip: bool
    crop: float = Field(default=0.0, ge=0)  # windows at random, out of so many times their side; 0: the squares
    precision: Precision = "float32"
    seed: int = 0
    weight_decay: float = Field(default=0.0, ge=0)  # decoupled from the gradient, as in AdamW; 0 is Adam
    ema_warmup: bool = False  # after step n the decay is at most (1 + n) / (10 + n)

    @property
    def part_size(self) -> int:
        """Images of a batch that go through the network at once, in all processes together."""
        return self.batch_size // self.accumulate

    def scaled(self, scale: float) -> "Training":
        """A training of so small a part of the steps, and of at least one."""
        return self.with_fields(steps=math.ceil(self.steps * scale), warmup=int(self.warmup * scale))

    def identity(self) -> dict[str, Any]:
        """What enters keys: settings that came later count where they are used, so that what was trained keeps its key."""
        fields, values = type(self).model_fields, self.model_dump()
        return {key: value for key, value in values.items() if key not in LATER or value != fields[key].default}

    @model_validator(mode="after")
    def _fits(self) -> "Training":
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate = {self.accumulate} equal parts of batch_size = {self.batch_size}: there are none"
            )
        if 0 < self.crop < 1:
            raise ValueError(f"crop = {self.crop}: windows are cut from at least their own side, 1, or not at all, 0")
        return self

    def check(self, dataset: Dataset) -> None:
        """Raises InputError for images that would be mirrored and must not be, and windows that cannot be cut."""
        if self.flip and not dataset.flip:
            raise InputError(f"training.flip = true: images of {dataset.name} mean something else when mirrored")
        self.images(dataset)

    def shorter_side(self, dataset: Dataset) -> int:
        """Of the photographs that windows are cut from, pixels; 0: there are none."""
        return round(self.crop * dataset.resolution)

    def images(self, dataset: Dataset) -> dict[str, str]:
        """What a training on the dataset sees, for keys; raises InputError where it has no photographs to cut windows from."""
        shorter = self.shorter_side(dataset)
        windows = {"windows": dataset.kept_whole(shorter).fingerprints["train"]} if shorter else {}
        return {"dataset": dataset.fingerprints["train"], **windows}


def without_steps(identity: dict[str, Any]) -> dict[str, Any]:
    """The identity of a training whose result has this one: how far it goes is no part of what it is."""
    return {**identity, "training": {key: value for key, value in identity["training"].items() if key != "steps"}}
