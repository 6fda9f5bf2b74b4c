"""Training a first stage: Rombach et al. 2022, appendix G. Killed at any instant and run again, it ends in the same weights.

As in the official code: Adam with betas (0.5, 0.9) for the autoencoder and for the discriminator, which from its start
on learns on every step too. Two economies: before `discriminator_start` it is not run at all, where the official code
multiplies its losses by 0; and it judges the reconstruction that the autoencoder has just been trained on, not one that is
computed anew after the step.
"""

import copy
import math
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from replication.datasets.dataset import Dataset
from replication.ldm.autoencoder import Autoencoder
from replication.ldm.losses.adversarial import adaptive_weight, discriminator_loss, generator_loss
from replication.noise import stream_seed
from replication.numerics import numerics
from replication.training.data import Pixels, TrainingData
from replication.training.first_stage import FirstStage
from replication.training.health import Health
from replication.training.loop import (
    CHECKPOINT_SECONDS,
    WATCH_STEPS,
    Step,
    TrainingState,
    batch_indices,
    descend,
    train_to_the_end,
)
from replication.training.settings import Training
from replication.training.snapshots import Snapshots, named


def train_first_stage(
    stage: FirstStage,
    dataset: Dataset,
    folder: Path,
    device: torch.device,
    milestones: Collection[int] = (),
    progress: bool = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    base: Callable[[], Autoencoder] | None = None,
) -> Path:
    """The snapshot in `folder` after the last step: found, or trained from the last one before it; see `train`.

    `base` loads the first stage that `stage` is the decoder of. Where scaling is "std" the scale is measured at each
    snapshot that is kept, on the first batch. RunError is raised for a loss or a gradient that is not finite, a
    collapsed codebook, a discriminator that has won.
    """
    return train_to_the_end(
        stage_snapshots(stage, dataset, folder),
        stage.training.steps,
        lambda: FirstStageState(stage, dataset, device, base() if base else None),
        partial(_pixels, dataset, device),
        milestones,
        progress,
        checkpoint_seconds,
        f"first stage {stage.name}",
    )


def stage_snapshots(stage: FirstStage, dataset: Dataset, folder: Path) -> Snapshots:
    return Snapshots(folder, stage.training_identity(dataset.fingerprints["train"]))


def _pixels(dataset: Dataset, device: torch.device) -> Pixels:
    return Pixels.of(dataset.load("train"), device)


class FirstStageState(TrainingState):
    """Of an autoencoder and its discriminator; `base`: the trained autoencoder that it is the decoder of."""

    def __init__(self, stage: FirstStage, dataset: Dataset, device: torch.device, base: Autoencoder | None = None):
        torch.manual_seed(stream_seed("weights", stage.training.seed))
        self.autoencoder: Any = stage.build_autoencoder()
        if base is not None:
            self.autoencoder.load_state_dict(base.state_dict())
            for name, parameter in self.autoencoder.named_parameters():
                parameter.requires_grad_(name.split(".")[0] in self.autoencoder.decoder_parts)
        super().__init__(self.autoencoder, stage.training, device)
        self.stage, self.dataset = stage, dataset
        self.discriminator = stage.build_discriminator()
        self.optimizers["network"] = self._optimizer(self.autoencoder)
        if self.discriminator is not None:
            self.discriminator = self.discriminator.to(device).to(memory_format=torch.channels_last).train()
            self.optimizers["discriminator"] = self._optimizer(self.discriminator)
        self.perceptual = stage.build_perceptual().to(device)
        codebook = getattr(self.autoencoder, "codebook", None)
        self.health = Health(
            codebook.num_embeddings if codebook is not None else 0, device, self.settings.steps // WATCH_STEPS
        )

    def _optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            network.parameters(), lr=0.0, betas=(0.5, 0.9), weight_decay=self.settings.weight_decay
        )

    def advance(self, data: TrainingData) -> Step:
        """One step of both networks."""
        settings, step = self.settings, self.step
        chosen = batch_indices(len(data), step, settings.batch_size, settings.seed).to(self.device)
        torch.manual_seed(stream_seed("first stage", settings.seed, step))
        x = data.batch(chosen, settings.flip)
        noise = torch.randn(len(x), *self.autoencoder.latent_shape(x.shape[1:]), device=x.device)
        adversarial = self.discriminator is not None and step >= self.stage.loss.discriminator_start
        with numerics(settings.precision, self.device):
            answer = self.autoencoder.reconstruct(x, noise)
            reconstruction = self.stage.loss.reconstruction(self.perceptual, x, answer.x)
            loss = reconstruction + self.stage.loss.regularizer_weight * answer.penalty.mean()
            if adversarial:
                loss = loss + self._generator_loss(reconstruction, answer.x)
        norm = descend(loss, self.autoencoder, self.optimizers["network"], step, settings)
        judged = self._train_discriminator(x, answer.x.detach()) if adversarial else None
        self.step = step + 1
        self.ema.update(self.autoencoder, self.step)
        self.health.add(answer.codes, reconstruction, judged)
        spoilt = ~norm.isfinite() if judged is None else ~(norm + judged).isfinite()
        return Step(torch.where(spoilt, math.nan, loss.detach()), norm)

    def _generator_loss(self, reconstruction: Tensor, reconstructed: Tensor) -> Tensor:
        assert self.discriminator is not None
        loss, wanted = self.stage.loss, generator_loss(self.discriminator.requires_grad_(False)(reconstructed))
        weight = adaptive_weight(reconstruction, wanted, self.autoencoder.last_layer, loss.adaptive_limit)
        return loss.discriminator_weight * weight * wanted

    def _train_discriminator(self, x: Tensor, reconstructed: Tensor) -> Tensor:
        """One step, whose warm-up counts from its own first; its loss, NaN if the gradient was not finite."""
        assert self.discriminator is not None
        discriminator = self.discriminator.requires_grad_(True)
        with numerics(self.settings.precision, self.device):
            loss = discriminator_loss(discriminator(x), discriminator(reconstructed))
        own = self.step - self.stage.loss.discriminator_start
        norm = descend(loss, discriminator, self.optimizers["discriminator"], own, self.settings)
        return torch.where(norm.isfinite(), loss.detach(), math.nan)

    @property
    def suspicious(self) -> bool:
        return self.health.suspicious

    def watch(self, step: Step) -> str | None:
        """Read the loss, and judge each window at its end."""
        return super().watch(step) or (self.health.judge() if self.step % WATCH_STEPS == 0 else None)

    def finish(self, data: TrainingData) -> None:
        """Measure the scale of the averaged weights' latents; a decoder of another has that one's."""
        if self.autoencoder.scaling == "std" and self.stage.decoder_of is None:
            averaged = copy.deepcopy(self.autoencoder)
            averaged.load_state_dict(self.ema.weights, strict=False)
            measure_scale(averaged, data, self.settings)
            self.autoencoder.scale.copy_(averaged.scale)

    def tensors(self) -> dict[str, Tensor]:
        """The discriminator and the watch besides."""
        judge = self.discriminator.state_dict() if self.discriminator is not None else {}
        return super().tensors() | {f"discriminator.{k}": t for k, t in judge.items()} | self.health.tensors()

    def restore(self, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        super().restore(tensors, header)
        if self.discriminator is not None:
            self.discriminator.load_state_dict(named(tensors, "discriminator."))
        self.health.restore(tensors)

    def notes(self) -> dict[str, Any]:
        usage = self.health.usage
        return {**stage_notes(self.stage, self.step), "codebook_usage": usage._asdict() if usage else None}


def stage_notes(stage: FirstStage, steps: int) -> dict[str, Any]:
    """What the header of a snapshot after so many steps describes it by: the whole first stage that ends there."""
    return {"first_stage": stage.with_fields(training=stage.training.with_fields(steps=steps)).model_dump()}


def measure_scale(autoencoder: Autoencoder, data: TrainingData, settings: Training) -> None:
    """Set the scale by the first batch that training sees, not mirrored, drawn from the posterior as published."""
    chosen = batch_indices(len(data), 0, settings.batch_size, settings.seed)
    x = data.batch(chosen.to(data.device), flip=False)
    torch.manual_seed(stream_seed("scale", settings.seed))
    noise = torch.randn(len(x), *autoencoder.latent_shape((x.shape[1], x.shape[2], x.shape[3])), device=x.device)
    with torch.no_grad(), numerics(settings.precision, data.device):
        autoencoder.fit_scale(autoencoder.moments(x), noise)


def save_given_first_stage(
    stage: FirstStage, dataset: Dataset, weights: Mapping[str, Tensor], folder: Path, sha256: str, device: torch.device
) -> Path:
    """The snapshot of a training whose weights were published; the scale is measured where it is to be.

    weights: all of the autoencoder's parameters, under its names.
    """
    autoencoder = stage.build_autoencoder().to(device)
    autoencoder.load_state_dict(weights, strict=False)
    if autoencoder.scaling == "std":
        measure_scale(autoencoder, _pixels(dataset, device), stage.training)
    steps = stage.training.steps
    return stage_snapshots(stage, dataset, folder).give(autoencoder, steps, sha256, stage_notes(stage, steps))


def load_autoencoder(stage: FirstStage, dataset: Dataset, path: Path, device: torch.device) -> Autoencoder:
    """The trained autoencoder in evaluation mode, averaged weights, its scale known; raises as Snapshots.load."""
    snapshots = stage_snapshots(stage, dataset, path.parent)
    return snapshots.load(stage.build_autoencoder(), path, stage.training.steps, device)
