"""Training a first stage: Rombach et al. 2022, appendix G. Killed at any instant and run again, it ends in the same weights.

As in the official code: Adam with betas (0.5, 0.9) for the autoencoder and for the discriminator, which from its start
on learns on every step too. Two economies: before `discriminator_start` it is not run at all, where the official code
multiplies its losses by 0; and it judges the reconstruction that the autoencoder has just been trained on, not one that is
computed anew after the step.
"""

import copy
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from replication.checkpoint import load_checkpoint, save_checkpoint
from replication.datasets.dataset import Dataset
from replication.ldm.autoencoder import Autoencoder
from replication.ldm.losses.adversarial import adaptive_weight, discriminator_loss, generator_loss
from replication.noise import stream_seed
from replication.numerics import numerics
from replication.training.data import Pixels, TrainingData
from replication.training.ema import EMA
from replication.training.first_stage import FirstStage
from replication.training.health import Health
from replication.training.loop import (
    CHECKPOINT_SECONDS,
    GIVEN,
    WATCH_STEPS,
    Run,
    batch_indices,
    descend,
    kept,
    optimizer_tensors,
    require_finished,
    restore_optimizer,
    run_to_the_end,
)
from replication.training.settings import Training
from replication.types import InputError, RunError


def train_first_stage(
    stage: FirstStage,
    dataset: Dataset,
    path: Path,
    device: torch.device,
    progress: bool = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> None:
    """Train to the last step, from the checkpoint at `path` if there is one; the result is at `path`.

    Where scaling is "std" it is measured at the end, on the first batch, and stored. Raises InputError for a checkpoint
    that is corrupt or of another first stage, RunError when training diverges: a loss or a gradient that is not finite, a
    collapsed codebook, a discriminator that has won. The last good checkpoint stays. On the CPU the weights are
    bit-identical however often training was interrupted.
    """
    run = _Run(stage, dataset, device)
    load = partial(_pixels, dataset, device)
    run_to_the_end(run, path, load, progress, checkpoint_seconds, f"first stage {stage.name}")


def _pixels(dataset: Dataset, device: torch.device) -> Pixels:
    return Pixels.of(dataset.load("train"), device)


class _Run(Run):
    """The state of one training: what a checkpoint holds."""

    def __init__(self, stage: FirstStage, dataset: Dataset, device: torch.device):
        self.stage, self.dataset, self.device, self.settings = stage, dataset, device, stage.training
        torch.manual_seed(stream_seed("weights", self.settings.seed))
        networks = nn.ModuleDict({"autoencoder": stage.build_autoencoder()})
        discriminator = stage.build_discriminator()
        if discriminator is not None:
            networks["discriminator"] = discriminator
        self.networks = networks.to(device).to(memory_format=torch.channels_last).train()
        self.autoencoder: Any = self.networks["autoencoder"]
        self.perceptual = stage.build_perceptual().to(device)
        self.ema = EMA(self.autoencoder, self.settings.ema_decay, self.settings.ema_warmup)
        self.optimizers = {
            name: torch.optim.AdamW(
                network.parameters(), lr=0.0, betas=(0.5, 0.9), weight_decay=self.settings.weight_decay
            )
            for name, network in self.networks.items()
        }
        codebook = getattr(self.autoencoder, "codebook", None)
        self.health = Health(
            codebook.num_embeddings if codebook is not None else 0, device, self.settings.steps // WATCH_STEPS
        )
        self.judged = 0

    def advance(self, data: TrainingData) -> Tensor:
        """One step of both networks; see Run."""
        settings, step = self.settings, self.step
        self.data = data
        chosen = batch_indices(len(data), step, settings.batch_size, settings.seed).to(self.device)
        torch.manual_seed(stream_seed("first stage", settings.seed, step))
        x = data.batch(chosen, settings.flip)
        noise = torch.randn(len(x), *self.autoencoder.latent_shape(x.shape[1:]), device=x.device)
        adversarial = "discriminator" in self.networks and step >= self.stage.loss.discriminator_start
        with numerics(settings.precision, self.device):
            answer = self.autoencoder.reconstruct(x, noise)
            reconstruction = self.stage.loss.reconstruction(self.perceptual, x, answer.x)
            loss = reconstruction + self.stage.loss.regularizer_weight * answer.penalty.mean()
            if adversarial:
                loss = loss + self._generator_loss(reconstruction, answer.x)
        norm = descend(loss, self.autoencoder, self.optimizers["autoencoder"], step, settings)
        judged = self._train_discriminator(x, answer.x.detach()) if adversarial else None
        self.step = step + 1
        self.ema.update(self.autoencoder, self.step)
        self.health.add(answer.codes, reconstruction, judged)
        spoilt = ~norm.isfinite() if judged is None else ~(norm + judged).isfinite()
        return torch.where(spoilt, math.nan, loss.detach())

    def _generator_loss(self, reconstruction: Tensor, reconstructed: Tensor) -> Tensor:
        discriminator, loss = self.networks["discriminator"].requires_grad_(False), self.stage.loss
        wanted = generator_loss(discriminator(reconstructed))
        weight = adaptive_weight(reconstruction, wanted, self.autoencoder.last_layer, loss.adaptive_limit)
        return loss.discriminator_weight * weight * wanted

    def _train_discriminator(self, x: Tensor, reconstructed: Tensor) -> Tensor:
        """One step, whose warm-up counts from its own first; its loss, NaN if the gradient was not finite."""
        discriminator = self.networks["discriminator"].requires_grad_(True)
        with numerics(self.settings.precision, self.device):
            loss = discriminator_loss(discriminator(x), discriminator(reconstructed))
        own = self.step - self.stage.loss.discriminator_start
        norm = descend(loss, discriminator, self.optimizers["discriminator"], own, self.settings)
        return torch.where(norm.isfinite(), loss.detach(), math.nan)

    def watch(self, loss: Tensor, path: Path) -> None:
        """Read the loss, and judge each window once; raise RunError if training has diverged."""
        super().watch(loss, path)
        if self.step % WATCH_STEPS == 0 and self.step != self.judged:
            self.judged = self.step
            trouble = self.health.judge()
            if trouble:
                raise RunError(f"training diverged at step {self.step}: {trouble}; {kept(path)}")

    def save(self, path: Path) -> None:
        """Weights, averaged weights, buffers and, until training is over, the discriminator, the moments and the watch.

        While something looks wrong nothing is written, so that the checkpoint which stays is a good one.
        """
        finished = self.step == self.settings.steps
        if self.health.suspicious and not finished:
            return
        if finished and self.autoencoder.scaling == "std":
            self._measure_scale()
        parameters = dict(self.autoencoder.named_parameters())
        tensors: dict[str, Tensor] = {f"weights.{k}": p for k, p in parameters.items()}
        tensors |= {f"ema.{k}": p for k, p in self.ema.weights.items()}
        tensors |= {f"buffers.{k}": t for k, t in self.autoencoder.state_dict().items() if k not in parameters}
        if not finished:
            for name, optimizer in self.optimizers.items():
                tensors |= optimizer_tensors(optimizer, f"adam.{name}")
            if "discriminator" in self.networks:
                tensors |= {f"discriminator.{k}": t for k, t in self.networks["discriminator"].state_dict().items()}
            tensors |= self.health.tensors()
        save_checkpoint(path, tensors, self._described())

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same first stage; raises InputError for another's."""
        tensors, metadata = load_checkpoint(path)
        _check_stage(metadata, self.stage, self.dataset, path)
        self.step, self.seconds, self.loss = metadata["step"], metadata["seconds"], metadata["loss"]
        if self.step == self.settings.steps:
            return
        self.autoencoder.load_state_dict(_named(tensors, "weights.") | _named(tensors, "buffers."))
        for k, averaged in self.ema.weights.items():
            averaged.copy_(tensors[f"ema.{k}"])
        for name, optimizer in self.optimizers.items():
            restore_optimizer(optimizer, tensors, f"adam.{name}")
        if "discriminator" in self.networks:
            self.networks["discriminator"].load_state_dict(_named(tensors, "discriminator."))
        self.health.restore(tensors)

    def _measure_scale(self) -> None:
        """Of the averaged weights' latents."""
        averaged = copy.deepcopy(self.autoencoder)
        averaged.load_state_dict(self.ema.weights, strict=False)
        measure_scale(averaged, self.data, self.settings)
        self.autoencoder.scale.copy_(averaged.scale)

    def _described(self) -> dict[str, Any]:
        usage = self.health.usage
        return {
            **_described(self.stage, self.dataset),
            "step": self.step,
            "loss": self.loss,
            "seconds": self.seconds,
            "codebook_usage": usage._asdict() if usage else None,
        }


def measure_scale(autoencoder: Autoencoder, data: TrainingData, settings: Training) -> None:
    """Set the scale by the first batch that training sees, not mirrored, drawn from the posterior as published."""
    chosen = batch_indices(len(data), 0, settings.batch_size, settings.seed)
    x = data.batch(chosen.to(data.device), flip=False)
    torch.manual_seed(stream_seed("scale", settings.seed))
    noise = torch.randn(len(x), *autoencoder.latent_shape((x.shape[1], x.shape[2], x.shape[3])), device=x.device)
    with torch.no_grad(), numerics(settings.precision, data.device):
        autoencoder.fit_scale(autoencoder.moments(x), noise)


def _described(stage: FirstStage, dataset: Dataset) -> dict[str, Any]:
    fingerprint = dataset.fingerprints["train"]
    with torch.device("meta"):
        f = stage.build_autoencoder().f
    return {
        "first_stage_key": stage.key(fingerprint),
        "first_stage": stage.model_dump(),
        "identity": stage.identity(fingerprint),
        "f": f,
    }


def save_given_first_stage(
    stage: FirstStage, dataset: Dataset, weights: Mapping[str, Tensor], path: Path, sha256: str, device: torch.device
) -> None:
    """The checkpoint of a finished training whose weights were published; the scale is measured where it is to be.

    Raises InputError where the weights are those of another autoencoder.
    """
    autoencoder = stage.build_autoencoder().to(device)
    shapes = {name: p.shape for name, p in autoencoder.named_parameters()}
    for name in sorted(shapes.keys() | weights.keys()):
        if name not in weights or shapes.get(name) != weights[name].shape:
            raise InputError(f"first stage {stage.title}: the weights given are those of another one, see {name!r}")
    autoencoder.load_state_dict(weights, strict=False)
    if autoencoder.scaling == "std":
        measure_scale(autoencoder, _pixels(dataset, device), stage.training)
    tensors = {f"{kind}.{k}": p.clone() for kind in ("weights", "ema") for k, p in autoencoder.named_parameters()}
    tensors |= {f"buffers.{k}": t for k, t in autoencoder.state_dict().items() if k not in shapes}
    made = {"step": stage.training.steps, "loss": None, "seconds": 0.0, "codebook_usage": None, GIVEN: sha256}
    save_checkpoint(path, tensors, {**_described(stage, dataset), **made})


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def _check_stage(metadata: dict[str, Any], stage: FirstStage, dataset: Dataset, path: Path) -> None:
    """Raises InputError if the checkpoint was trained by another first stage."""
    if "first_stage_key" not in metadata:
        raise InputError(f"{path}: this checkpoint is no first stage's; move it away and run again")
    if metadata["first_stage_key"] != stage.key(dataset.fingerprints["train"]):
        with torch.device("meta"):
            f = stage.build_autoencoder().f
        other = f", with f = {metadata['f']} and not {f}" if metadata["f"] != f else ""
        raise InputError(
            f"{path}: this checkpoint was trained by another first stage{other}; move it away and run again"
        )


def load_autoencoder(stage: FirstStage, dataset: Dataset, path: Path, device: torch.device) -> Autoencoder:
    """The trained autoencoder in evaluation mode, averaged weights, its scale known.

    Raises InputError if the file is missing, corrupt, of another first stage, or its training is not finished.
    """
    tensors, metadata = load_checkpoint(path)
    _check_stage(metadata, stage, dataset, path)
    require_finished(metadata["step"], stage.training, path)
    autoencoder = stage.build_autoencoder()
    autoencoder.load_state_dict(_named(tensors, "ema.") | _named(tensors, "buffers."))
    return autoencoder.to(device).to(memory_format=torch.channels_last).requires_grad_(False).eval()
