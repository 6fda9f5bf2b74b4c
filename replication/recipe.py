"""The recipe of a checkpoint: everything that fixes its weights, and nothing else."""

from functools import cached_property
from typing import Any

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from replication.condition import Condition
from replication.diffusion.denoiser import Denoiser
from replication.diffusion.objective import Objective
from replication.diffusion.schedule import NoiseSchedule
from replication.numerics import Precision
from replication.registry import CONDITIONS, DATASETS, MODELS, OBJECTIVES, SCHEDULES
from replication.settings import Part, Settings, content_key
from replication.types import InputError

_CHECKED: set[str] = set()  # keys of recipes that fit: the experiments share most of theirs


class Training(Settings):
    """Adam (eps 1e-8) with warm-up, global gradient clipping and EMA: Ho et al. 2020, appendix B."""

    steps: PositiveInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    warmup: int = Field(ge=0)  # steps over which the rate climbs from 0, linearly
    grad_clip: PositiveFloat = 1.0
    ema_decay: float = Field(ge=0, lt=1)
    flip: bool
    precision: Precision = "float32"
    seed: int = 0


class Recipe(Settings):
    """dataset + network + schedule + parameterization + objective + training; `key` names the checkpoint's file."""

    dataset: Part
    network: Part
    schedule: Part
    parameterization: str
    objective: Part
    condition: Part | None = None  # what the network is told about each image; left out: nothing
    training: Training

    @cached_property
    def key(self) -> str:
        """SHA-256 of what fixes the weights, the training images' fingerprint included."""
        return content_key(self.identity())

    def identity(self) -> dict[str, Any]:
        return self._identity

    @cached_property  # a sweep's cells share their recipe
    def _identity(self) -> dict[str, Any]:
        return {
            "dataset": self.build_dataset().fingerprints["train"],
            "network": self.network.identity(MODELS),
            "schedule": self.schedule.identity(SCHEDULES),
            "parameterization": self.parameterization,
            "objective": self.objective.identity(OBJECTIVES),
            "training": self.training.model_dump(),
            **({"condition": self.condition.identity(CONDITIONS)} if self.condition else {}),
        }

    def check(self) -> None:
        """Build every part, the network without memory, once per process; raises InputError for whatever doesn't fit."""
        if self.key in _CHECKED:
            return
        dataset = self.build_dataset()
        with torch.device("meta"):
            network = self.build_network()
        self.build_denoiser(network)
        channels, shape = dataset.channels, (1, dataset.channels, dataset.resolution, dataset.resolution)
        try:
            output = network(torch.empty(shape, device="meta"), torch.empty(1, device="meta"), self.null(1, "meta"))
        except RuntimeError as error:
            raise InputError(f"network {self.network} does not take images of {dataset.name}: {error}") from error
        except InputError as error:
            raise InputError(f'network {self.network}: {error}; condition = "label" gives it one') from error
        classes = len(dataset.classes) if self.condition else 0
        if getattr(network, "classes", classes) != classes:
            raise InputError(
                f"network {self.network} knows {network.classes} classes, and condition = {self.condition or 'none'} on "
                f"{dataset.name} tells it of {classes}"
            )
        expected = channels * (2 if self.build_objective().learns_variance else 1)
        if output.shape[1] != expected:
            raise InputError(
                f"network {self.network} has {output.shape[1]} output channels, objective {self.objective} on "
                f"{dataset.name} trains {expected}; learned_variance doubles them"
            )
        if self.training.flip and not dataset.flip:
            raise InputError(f"training.flip = true: images of {dataset.name} mean something else when mirrored")
        _CHECKED.add(self.key)

    def build_dataset(self) -> Any:
        return self.dataset.build(DATASETS)

    def build_network(self) -> nn.Module:
        return self.network.build(MODELS)

    def build_schedule(self) -> NoiseSchedule:
        return self._schedule

    @cached_property
    def _schedule(self) -> NoiseSchedule:
        return self.schedule.build(SCHEDULES)

    def build_objective(self) -> Objective:
        return self.objective.build(OBJECTIVES)

    def build_condition(self) -> Condition | None:
        return self.condition.build(CONDITIONS) if self.condition else None

    def null(self, n: int, device: torch.device | str) -> Tensor | None:
        """`cond` of n images that nothing is said about; None for an unconditional network."""
        condition = self.build_condition()
        if condition is None:
            return None
        null = condition.null(len(self.build_dataset().classes)).to(device)
        return null.expand(n, *null.shape)

    def build_denoiser(self, network: nn.Module) -> Denoiser:
        """The network read on the recipe's schedule, a learned variance in the way that the objective trains it."""
        reading = self.build_objective().variance_reading
        return Denoiser(network, self.build_schedule(), self.parameterization, variance=reading)
