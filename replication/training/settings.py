"""The settings of a training, whichever network it is of."""

from typing import Any

from pydantic import Field, PositiveFloat, PositiveInt

from replication.datasets.dataset import Dataset
from replication.numerics import Precision
from replication.settings import Settings
from replication.types import InputError


class Training(Settings):
    """Adam (eps 1e-8) with warm-up, global gradient clipping and EMA: Ho et al. 2020, appendix B.

    LDM trains with AdamW, whose weight decay is 0.01 where its code leaves it open, and lets the averaging's decay climb.
    """

    steps: PositiveInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    warmup: int = Field(ge=0)  # steps over which the rate climbs from 0, linearly
    grad_clip: float = Field(default=1.0, ge=0)  # of the whole gradient's norm; 0: none
    ema_decay: float = Field(ge=0, lt=1)
    flip: bool
    precision: Precision = "float32"
    seed: int = 0
    weight_decay: float = Field(default=0.0, ge=0)  # decoupled from the gradient, as in AdamW; 0 is Adam
    ema_warmup: bool = False  # after step n the decay is at most (1 + n) / (10 + n)

    def identity(self) -> dict[str, Any]:
        """What enters keys: settings that came later count where they are used, so that what was trained keeps its key."""
        later = ("weight_decay", "ema_warmup")
        return {key: value for key, value in self.model_dump().items() if value or key not in later}

    def check(self, dataset: Dataset) -> None:
        """Raises InputError where the images would be mirrored and must not be."""
        if self.flip and not dataset.flip:
            raise InputError(f"training.flip = true: images of {dataset.name} mean something else when mirrored")


def without_steps(identity: dict[str, Any]) -> dict[str, Any]:
    """The identity of a training whose result has this one: how far it goes is no part of what it is."""
    return {**identity, "training": {key: value for key, value in identity["training"].items() if key != "steps"}}
