"""Where and on what cells are computed: what has been trained is found there, and what has not is trained there."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from replication.checkpoint import load_metadata
from replication.datasets.dataset import Dataset
from replication.diffusion.denoiser import Denoiser
from replication.files import file_sha256, locked
from replication.ldm.autoencoder import Autoencoder
from replication.numerics import numerics
from replication.registry import AUTOENCODERS
from replication.training.data import Latents, Pixels, TrainingData
from replication.training.first_stage import FirstStage
from replication.training.latent_cache import cached_moments
from replication.training.loop import GIVEN
from replication.training.recipe import Recipe
from replication.training.train import FIRST_STAGE, load_network, train
from replication.training.train_first_stage import load_autoencoder, train_first_stage
from replication.types import InputError


@dataclass(frozen=True)
class Model:
    """What a recipe trained: it samples latents with the one and makes images of them with the other."""

    denoiser: Denoiser
    autoencoder: Autoencoder  # identity where the recipe has no first stage
    sha256: dict[str, str]  # of the files: `checkpoint`, and `first_stage` where there is one
    given: dict[
        str, str | None
    ]  # likewise, SHA-256 of the published file that the weights are from; None: trained here

    @property
    def weights(self) -> str:
        """What stands for both files in a sample set."""
        return "+".join(self.sha256.values())

    @torch.no_grad()
    def encode(self, cond: Tensor) -> Tensor:
        """What the network's own reader of labels or texts makes of `cond`, once for all steps; `cond` where it has none.

        In float32 whatever the sampling's precision is.
        """
        encode = getattr(self.denoiser.network, "encode", None)
        with numerics("float32", cond.device):
            return cond if encode is None else encode(cond)


@dataclass(frozen=True)
class Workplace:
    """`state` is the folder that holds it all."""

    state: Path
    device: torch.device
    batch_size: int
    progress: bool = True

    def checkpoint_path(self, recipe: Recipe) -> Path:
        """Where the checkpoint of a recipe is, or will be."""
        return self.state / "checkpoints" / f"{recipe.key}.safetensors"

    def first_stage_path(self, stage: FirstStage, dataset: Dataset) -> Path:
        """Where the checkpoint of a first stage is, or will be."""
        return self.state / "first-stages" / f"{stage.key(dataset.fingerprints['train'])}.safetensors"

    def checkpoint(self, recipe: Recipe) -> Path:
        """The trained checkpoint of a recipe: trained now, gone on with, or found. One process at a time."""
        path = self.checkpoint_path(recipe)
        with locked(self.state / "locks" / recipe.key, f"checkpoint {recipe.key[:12]}"):
            train(recipe, path, self.device, self.progress, data=lambda: self._training_data(recipe))
        return path

    def first_stage(self, stage: FirstStage, dataset: Dataset) -> Path:
        """The trained first stage for a dataset, likewise."""
        path = self.first_stage_path(stage, dataset)
        with locked(self.state / "locks" / path.stem, f"first stage {stage.name}"):
            train_first_stage(stage, dataset, path, self.device, self.progress)
        return path

    def ensure_first_stage(self, stage: FirstStage, dataset: Dataset) -> None:
        """Make sure that it is there, or that its training has what it needs; raises InputError."""
        if not self.first_stage_path(stage, dataset).exists():
            stage.ensure()

    def model(self, recipe: Recipe, ema: bool, checkpoint: Path | None = None) -> Model:
        """The model of a recipe, trained if need be, or the one in `checkpoint`.

        Raises InputError where the checkpoint was trained on the latents of another first stage than the one found.
        """
        path = checkpoint or self.checkpoint(recipe)
        autoencoder, of_first_stage = self._autoencoder(recipe)
        metadata, given = load_metadata(path), {}
        if recipe.first_stage is not None:
            given[FIRST_STAGE] = load_metadata(self.first_stage_path(recipe.first_stage, recipe.build_dataset())).get(
                GIVEN
            )
        trained_on = metadata.get(FIRST_STAGE)
        if trained_on != of_first_stage.get(FIRST_STAGE):
            raise InputError(
                f"{path}: trained on latents of the first stage {trained_on}, and this one is "
                f"{of_first_stage.get(FIRST_STAGE)}; move the checkpoint away and run again"
            )
        denoiser = recipe.build_denoiser(load_network(recipe, path, self.device, ema))
        sha256 = {"checkpoint": file_sha256(path), **of_first_stage}
        return Model(denoiser, autoencoder, sha256, {"checkpoint": metadata.get(GIVEN), **given})

    def autoencoder(self, stage: FirstStage, dataset: Dataset) -> tuple[Autoencoder, str]:
        """The trained first stage, and the SHA-256 of its checkpoint."""
        path = self.first_stage(stage, dataset)
        return load_autoencoder(stage, dataset, path, self.device), file_sha256(path)

    def _autoencoder(self, recipe: Recipe) -> tuple[Autoencoder, dict[str, str]]:
        if recipe.first_stage is None:
            return AUTOENCODERS.build("identity", image_channels=recipe.build_dataset().channels), {}
        autoencoder, sha256 = self.autoencoder(recipe.first_stage, recipe.build_dataset())
        return autoencoder, {FIRST_STAGE: sha256}

    def _training_data(self, recipe: Recipe) -> TrainingData:
        split = recipe.build_dataset().load("train")
        if recipe.first_stage is None:
            return Pixels.of(split, self.device)
        autoencoder, sha256 = self.autoencoder(recipe.first_stage, recipe.build_dataset())
        moments = cached_moments(
            split.images,
            autoencoder,
            self.state / "latents",
            fingerprint=split.fingerprint,
            weights=sha256,
            mirrored=recipe.training.flip,
            device=self.device,
            progress=self.progress,
        )
        return Latents(moments, split.labels, self.device, autoencoder, sha256)
