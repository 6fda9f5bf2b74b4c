"""Training a first stage: Rombach et al. 2022, appendix G. Killed at any instant and run again, it ends in the same weights.

As in the official code: Adam with betas (0.5, 0.9) for the autoencoder and for the discriminator, which from its start
on learns on every step too. Two economies: before `discriminator_start` it is not run at all, where the official code
multiplies its losses by 0; and it judges the reconstruction that the autoencoder has just been trained on, not one that is
computed anew after the step.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from replication.datasets.dataset import Dataset
from replication.ldm.autoencoder import Autoencoder
from replication.ldm.losses.adversarial import adaptive_weight, discriminator_loss, generator_loss
from replication.noise import stream_seed
from replication.numerics import numerics
from replication.training import loop
from replication.training.data import TrainingData, images_of
from replication.training.first_stage import FirstStage
from replication.training.health import Health
from replication.training.processes import ALONE, Processes
from replication.training.settings import Training
from replication.training.snapshots import Snapshots


def train_first_stage(
    stage: FirstStage,
    dataset: Dataset,
    folder: Path,
    device: torch.device,
    *,
    base: Callable[[], Autoencoder] | None = None,
    **sitting: Unpack[loop.Sitting],
) -> Path:
    """The snapshot in `folder` after the last step: found, or trained from the last one before it; see `train`.

    `base` loads the first stage that `stage` is the decoder of. Where scaling is "std"
    the scale is measured at each snapshot that is kept, on the first batch. RunError is raised for a loss or a gradient that is
    not finite, a collapsed codebook, a discriminator that has won.
    """
    processes = sitting.get("processes", ALONE)
    return loop.train_to_the_end(
        stage_snapshots(stage, dataset, folder),
        stage.training.steps,
        lambda: FirstStageState(stage, device, base() if base else None, processes),
        lambda: images_of(dataset, stage.training, device),
        f"first stage {stage.name}",
        **sitting,
    )


def stage_snapshots(stage: FirstStage, dataset: Dataset, folder: Path) -> Snapshots:
    return Snapshots(folder, stage.training_identity(dataset))


class FirstStageState(loop.TrainingState):
    """Of an autoencoder and its discriminator; `base`: the trained autoencoder that it is the decoder of."""

    kind, stream, betas = "first_stage", "first stage", (0.5, 0.9)

    def __init__(
        self, stage: FirstStage, device: torch.device, base: Autoencoder | None = None, processes: Processes = ALONE
    ):
        torch.manual_seed(stream_seed("weights", stage.training.seed))
        self.stage, self.autoencoder = stage, stage.build_autoencoder()
        if base is not None:
            self.autoencoder.load_state_dict(base.state_dict())
            for name, parameter in self.autoencoder.named_parameters():
                parameter.requires_grad_(name.split(".")[0] in self.autoencoder.decoder_parts)
        super().__init__(stage, self.autoencoder, device, processes)
        self.discriminator = stage.build_discriminator()
        if self.discriminator is not None:
            self.beside["discriminator"] = self.placed(self.discriminator)
            self.optimizers["discriminator"] = self.optimizer(self.discriminator)
            self.starts["discriminator"] = stage.loss.discriminator_start
        self.perceptual = stage.build_perceptual().to(device)
        windows = self.settings.steps // loop.WATCH_STEPS
        self.health = self.beside["health"] = Health(self.autoencoder.codebook_size, device, windows, processes)

    def drawn(self, x0: Tensor, labels: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, bool]:
        """x_0, the posterior's noise, and whether the discriminator takes part."""
        noise = torch.randn(len(x0), *self.autoencoder.latent_shape(x0.shape[1:]), device=x0.device)
        return x0, noise, self.discriminator is not None and self.step >= self.stage.loss.discriminator_start

    def learn(self, x0: Tensor, noise: Tensor, adversarial: bool) -> loop.Step:
        seen: list[tuple[Tensor, Tensor | None, Tensor]] = []
        losses = self._losses(x0, noise, adversarial, seen)
        done = loop.descend(losses, self.autoencoder, self.optimizers["network"], self.settings, self.processes)
        judged = self._train_discriminator(x0, [x for x, _, _ in seen]) if adversarial else None
        for _, codes, reconstruction in seen:
            self.health.add(codes, reconstruction, judged)
        return done if judged is None else loop.Step(loop.unless_spoilt(done.loss, judged), done.gradient_norm)

    def _losses(
        self, x0: Tensor, noise: Tensor, adversarial: bool, seen: list[tuple[Tensor, Tensor | None, Tensor]]
    ) -> Iterator[Tensor]:
        """Part after part; into `seen`: reconstructed, codes, reconstruction loss."""
        for part in self.parts:
            with numerics(self.settings.precision, self.device):
                answer = self.autoencoder.reconstruct(x0[part], noise[part])
                reconstruction = self.stage.loss.reconstruction(self.perceptual, x0[part], answer.x) * self.share
                loss = reconstruction + self.stage.loss.regularizer_weight * answer.penalty.mean() * self.share
                if adversarial:
                    loss = loss + self._generator_loss(reconstruction, answer.x)
            seen.append((answer.x.detach(), answer.codes, reconstruction.detach()))
            yield loss

    def _generator_loss(self, reconstruction: Tensor, reconstructed: Tensor) -> Tensor:
        assert self.discriminator is not None
        loss = self.stage.loss
        wanted = generator_loss(self.discriminator.requires_grad_(False)(reconstructed)) * self.share
        last, limit = self.autoencoder.last_layer, loss.adaptive_limit
        weight = adaptive_weight(reconstruction, wanted, last, limit, self.processes.mean)
        return loss.discriminator_weight * weight * wanted

    def _train_discriminator(self, x: Tensor, made: Sequence[Tensor]) -> Tensor:
        """One step; its loss, NaN if the gradient was not finite.

        made: the reconstructions of x, part after part.
        """
        assert self.discriminator is not None
        discriminator = self.discriminator.requires_grad_(True)
        losses = self._judgements(x, made)
        optimizer = self.optimizers["discriminator"]
        return loop.descend(losses, discriminator, optimizer, self.settings, self.processes).loss

    def _judgements(self, x: Tensor, made: Sequence[Tensor]) -> Iterator[Tensor]:
        assert self.discriminator is not None
        for part, reconstructed in zip(self.parts, made, strict=True):
            with numerics(self.settings.precision, self.device):
                loss = discriminator_loss(self.discriminator(x[part]), self.discriminator(reconstructed)) * self.share
            yield loss

    @property
    def suspicious(self) -> bool:
        return self.health.suspicious

    def judge(self) -> str | None:
        return self.health.judge()

    def finish(self, data: TrainingData) -> None:
        """Measure the scale of the averaged weights' latents; a decoder of another has that one's."""
        if self.autoencoder.scaling == "std" and self.stage.decoder_of is None:
            averaged = copy.deepcopy(self.autoencoder)
            averaged.load_state_dict(self.ema.weights, strict=False)
            measure_scale(averaged, data, self.settings)
            self.autoencoder.scale.copy_(averaged.scale)


def measure_scale(autoencoder: Autoencoder, data: TrainingData, settings: Training) -> None:
    """Set the scale by the first batch that training sees, not mirrored, drawn from the posterior as published."""
    x = data.batch(loop.batch_indices(len(data), 0, settings.batch_size, settings.seed, data.device), flip=False)
    torch.manual_seed(stream_seed("scale", settings.seed))
    noise = torch.randn(len(x), *autoencoder.latent_shape(x.shape[1:]), device=x.device)
    with torch.no_grad(), numerics(settings.precision, data.device):
        autoencoder.fit_scale(autoencoder.moments(x), noise)


def load_autoencoder(stage: FirstStage, dataset: Dataset, path: Path, device: torch.device) -> Autoencoder:
    """The trained autoencoder in evaluation mode, averaged weights, its scale known; raises as Snapshots.load."""
    snapshots = stage_snapshots(stage, dataset, path.parent)
    return snapshots.load(stage.build_autoencoder, path, stage.training.steps, device)
