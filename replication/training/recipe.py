"""The recipe of a network: everything that fixes its weights, and nothing else."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from replication.conditions.condition import UNCONDITIONAL, Condition
from replication.diffusion.denoiser import Denoiser
from replication.diffusion.objective import Objective
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import CONDITIONS, DATASETS, MODELS, OBJECTIVES, SCHEDULES
from replication.settings import Part, Shared, Spelled, content_key
from replication.shapes import Shapes
from replication.training.diffusers_options import Meaning, check_training
from replication.training.first_stage import FirstStage, without_memory
from replication.training.settings import Training, without_steps
from replication.types import InputError

_CHECKED: set[str] = set()  # keys of recipes that fit: the experiments share most of theirs
_FITTING: dict[str, nn.Module] = {}  # networks without memory, by what they are and what they are given
OF_TRAINING = ("schedule", "parameterization", "training")  # of an identity: what a network fits whatever it is


class Recipe(Shared):
    """dataset + network + schedule + parameterization + objective + training; `training_key` names the snapshots' files."""

    dataset: Part
    network: Part
    schedule: Part
    parameterization: str
    objective: Part
    condition: Part | None = None  # what the network is conditioned on; left out: nothing
    first_stage: FirstStage | None = None  # what makes latents of images; left out: the network sees pixels
    training: Training

    @cached_property
    def spelled(self) -> Spelled:
        """The identity, for the keys that it is a part of."""
        return Spelled(self.identity)

    @cached_property
    def key(self) -> str:
        """SHA-256 of the identity."""
        return content_key(self.spelled)

    @cached_property  # a sweep's cells share their recipe
    def identity(self) -> dict[str, Any]:
        """What fixes the weights, the training images' fingerprint included."""
        dataset, condition = self.build_dataset(), self.build_condition()
        part = self.condition.identity(CONDITIONS) if self.condition else {}
        conditioned = condition.identity(part, dataset) if condition else None
        return {
            **self.training.images(dataset),
            "network": self.network.identity(MODELS),
            "schedule": self.schedule.identity(SCHEDULES),
            "parameterization": self.parameterization,
            "objective": self.objective.identity(OBJECTIVES),
            "training": self.training.identity(),
            **({"condition": conditioned} if conditioned else {}),
            **({"first_stage": self.first_stage.identity(dataset)} if self.first_stage else {}),
        }

    def training_identity(self) -> dict[str, Any]:
        """What its snapshots share: the identity without the steps, and of the first stage the encoder alone."""
        identity = without_steps(self.identity)
        if self.first_stage is not None:
            identity["first_stage"] = self.first_stage.encoder_identity(self.build_dataset())
        return identity

    @cached_property
    def training_key(self) -> str:
        return content_key(self.training_identity())

    def scaled(self, scale: float) -> "Recipe":
        """One of so small a part of the training, and of its first stage's."""
        stage = self.first_stage and self.first_stage.scaled(scale)
        return self.with_fields(training=self.training.scaled(scale), first_stage=stage)

    def completed(self) -> "Recipe":
        """This recipe with what follows from its other parts, where network and autoencoder have options for it.

        resolution and channels of images or latents; classes, vocabulary and length of the condition; learned_variance of
        the objective; image_channels of the dataset. What is stated stays, and `check` refuses it where it is wrong. Raises
        InputError for an unknown part, and for a condition that does not apply to the dataset.
        """
        dataset, condition = self.build_dataset(), self.build_condition()
        seen = self.with_fields(first_stage=self.first_stage.completed(dataset)) if self.first_stage else self
        channels, resolution, _ = seen.latent_shape
        sizes = condition.sizes(dataset)._asdict() if condition else {}
        facts = {
            "resolution": resolution,
            "channels": channels,
            "learned_variance": self.build_objective().learns_variance,
            **{what: number for what, number in sizes.items() if number},
        }
        return seen.with_fields(network=self.network.completed(MODELS, facts))

    def check(self) -> None:
        """Build every part, the network without memory, once per process; raises InputError for whatever doesn't fit."""
        if self.key in _CHECKED:
            return
        dataset, given = self.build_dataset(), {k: v for k, v in self.identity.items() if k not in OF_TRAINING}
        if self.first_stage is not None:
            self.first_stage.check(dataset)
        if (fitting := content_key(given)) not in _FITTING:
            _FITTING[fitting] = self._fitting_network()
        network = _FITTING[fitting]
        self.build_denoiser(network)
        if isinstance(folder := getattr(network, "folder", None), Path):
            check_training(folder, self.meaning())
        self._check_objective(self.latent_shape)
        self.training.check(dataset)
        _CHECKED.add(self.key)

    def _fitting_network(self) -> nn.Module:
        """The network without memory, which takes what it is given and has the objective's outputs; raises InputError."""
        dataset, condition, shape = self.build_dataset(), self.build_condition(), self.latent_shape
        with without_memory():
            network = self.build_network()
        if beside := network.state_dict().keys() - dict(network.named_parameters()).keys():
            raise InputError(f"network {self.network}: no checkpoint keeps {sorted(beside)}, which are no parameters")
        sizes = condition.sizes(dataset) if condition else UNCONDITIONAL
        given = f"latents {list(shape)}" if self.first_stage else "images"
        refused = f"network {self.network} does not take {given} of {self.dataset}"
        for what, number in {**sizes._asdict(), "resolution": shape[1]}.items():
            own = getattr(network, what, number)
            if own != number and not (what == "length" and 0 in (own, number)):  # 0: any length
                with_condition = f"with condition {self.condition or 'none'}"
                raise InputError(f"{refused} {with_condition}: it has {what} = {own}, they have {number}")
        if condition is not None and condition.dropout and not takes_null(network):
            dropped = f"recipe.condition.dropout = {condition.dropout}"
            raise InputError(f"{dropped}: network {self.network} has no null condition to train; with it, dropout is 0")
        try:
            x, timestep = torch.empty(1, *shape, device="meta"), torch.empty(1, device="meta")
            with torch.no_grad(), Shapes():
                output = network(x, timestep, self.null(1, "meta"))
        except (RuntimeError, InputError) as error:
            raise InputError(f"{refused}: {error}") from error
        expected = shape[0] * (2 if self.build_objective().learns_variance else 1)
        if output.shape[1] != expected:
            raise InputError(
                f"network {self.network} has {output.shape[1]} output channels, objective {self.objective} on "
                f"{self.dataset} trains {expected}; learned_variance doubles them"
            )
        return network

    def _check_objective(self, shape: tuple[int, int, int]) -> None:
        """The objective at both ends of the grid, a network that repeats its input: what can't be trained is refused now."""
        objective, schedule = self.build_objective(), self.build_schedule()
        denoiser = self.build_denoiser(lambda x, *_: torch.cat([x, x], dim=1) if objective.learns_variance else x)
        t = torch.tensor([1 / schedule.T, 1.0], dtype=torch.float64)
        fits = f"objective {self.objective} on schedule {self.schedule}, parameterization {self.parameterization!r}"
        try:
            loss = objective(denoiser, torch.zeros(2, *shape), None, t, torch.ones(2, *shape))
        except (RuntimeError, InputError) as error:
            raise InputError(f"{fits}: {error}") from error
        if loss.shape != t.shape or not bool(loss.isfinite().all()):
            raise InputError(f"{fits}: the loss at t = 1/T and t = 1 must be two finite numbers, not {loss.tolist()}")

    @cached_property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of what the network sees: the images themselves where there is no first stage."""
        image = self.build_dataset().shape
        return self.first_stage.latent_shape(image) if self.first_stage else image

    def build_dataset(self) -> Any:
        return self.dataset.build(DATASETS)

    def build_network(self) -> nn.Module:
        return self.network.build(MODELS)

    def build_schedule(self) -> NoiseSchedule:
        """One for all recipes that share the setting: what was found out about it is kept with it."""
        return self.schedule.built(SCHEDULES)

    def build_objective(self) -> Objective:
        return self.objective.build(OBJECTIVES)

    def build_condition(self) -> Condition | None:
        return self.condition.build(CONDITIONS) if self.condition else None

    def meaning(self) -> Meaning:
        """What the network's output means."""
        return Meaning(self.parameterization, self.build_schedule(), str(self.schedule), self.build_objective())

    def null(self, n: int, device: torch.device | str) -> Tensor | None:
        """The null condition of n images; None for an unconditional network."""
        if (condition := self.build_condition()) is None:
            return None
        null = condition.null(self.build_dataset()).to(device)
        return null.expand(n, *null.shape)

    def build_denoiser(self, network: Callable[..., Tensor]) -> Denoiser:
        """The network read on the recipe's schedule, a learned variance in the way that the objective trains it."""
        reading = self.build_objective().variance_reading
        return Denoiser(network, self.build_schedule(), self.parameterization, variance=reading)


def takes_null(network: nn.Module) -> bool:
    """Whether the null condition is one of what a conditional network takes."""
    return getattr(getattr(network, "encoder", None), "null", True)
