"""The recipe of a first stage: everything that fixes an autoencoder's weights, and nothing else.

Rombach et al. 2022, section 3.1 and appendix G: reconstruction + regularizer + adversarial loss, all in units of a mean
over an image's values (`Autoencoder.reconstruct` has how the official sums translate).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Self

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from replication.datasets.dataset import Dataset
from replication.layers.building import Uninitialised
from replication.ldm.losses.adversarial import LIMIT
from replication.ldm.losses.distances import PIXEL, Perceptual, Pixel
from replication.registry import AUTOENCODERS, DISCRIMINATORS, PERCEPTUAL
from replication.settings import Part, Settings, content_key
from replication.shapes import Shapes
from replication.training.settings import Training, without_steps
from replication.types import InputError

MOST_LAYERS = 50_000  # of a network; published ones have thousands
_CHECKED: set[str] = set()  # keys of first stages that fit: rows share them


@contextmanager
def without_memory() -> Iterator[None]:
    """What is built in it lies on the meta device. Raises InputError for a network without end: a slip in a depth."""
    built = 0

    def count(*_: object) -> None:
        nonlocal built
        built += 1
        if built > MOST_LAYERS:
            raise InputError(f"a network of more than {MOST_LAYERS:,} layers")

    counting = register_module_module_registration_hook(count)
    try:
        with torch.device("meta"), Shapes():
            yield
    finally:
        counting.remove()


@cache  # many rows ask for few autoencoders, which take time to build even without memory
def _latent_shape(autoencoder: str, image: tuple[int, int, int]) -> tuple[int, int, int]:
    with without_memory(), Uninitialised():
        return Part.model_validate_json(autoencoder).build(AUTOENCODERS).latent_shape(image)


class FirstStageLoss(Settings):
    """Published: l1 + lpips-vgg16; regularizer 1e-6 (KL) or 1 (VQ); patchgan from step 50,001, weight 0.5 or 0.75 (VQ)."""

    pixel: Pixel = "l1"
    perceptual: Part
    perceptual_weight: float = Field(default=1.0, ge=0)
    regularizer_weight: float = Field(ge=0)
    discriminator: Part | None = None
    discriminator_start: int = Field(default=50_001, ge=0)  # the step, counted from 0, from which it exists
    discriminator_weight: PositiveFloat = 0.5  # times the adaptive weight
    adaptive_limit: PositiveFloat = LIMIT

    def reconstruction(self, perceptual: Perceptual, x: Tensor, reconstructed: Tensor) -> Tensor:
        """Pixels + weight * perceptual distance of two batches of images, []."""
        distance = PIXEL[self.pixel](reconstructed, x).mean()
        return distance + self.perceptual_weight * perceptual(x, reconstructed).mean()


class FirstStage(Settings):
    """autoencoder + loss + training; with the training images' fingerprints, `identity` is what fixes its weights.

    `name` is what an experiment calls it, and has no part in that. With `decoder_of` it is a decoder alone: training
    starts from that first stage's averaged weights, and the encoder and its scale stay as they are.
    """

    name: str
    autoencoder: Part
    loss: FirstStageLoss
    training: Training
    decoder_of: "FirstStage | None" = None

    def scaled(self, scale: float) -> Self:
        """One of so small a part of the training, its decoder's base likewise; a discriminator comes in as much earlier."""
        start = int(self.loss.discriminator_start * scale)
        return self.with_fields(
            training=self.training.scaled(scale),
            loss=self.loss.with_fields(discriminator_start=start),
            decoder_of=self.decoder_of and self.decoder_of.scaled(scale),
        )

    def identity(self, dataset: Dataset) -> dict[str, Any]:
        """What fixes the weights, for keys."""
        loss, discriminator, base = self.loss, self.loss.discriminator, self.decoder_of
        return {
            **self.training.images(dataset),
            "autoencoder": self.autoencoder.identity(AUTOENCODERS),
            "loss": {
                **loss.model_dump(),
                "perceptual": loss.perceptual.identity(PERCEPTUAL),
                "discriminator": discriminator.identity(DISCRIMINATORS) if discriminator else None,
            },
            "training": self.training.identity(),
            **({"decoder_of": base.identity(dataset)} if base else {}),
        }

    def training_identity(self, dataset: Dataset) -> dict[str, Any]:
        """What its snapshots share: the identity without the steps."""
        return without_steps(self.identity(dataset))

    def encoder_identity(self, dataset: Dataset) -> dict[str, Any]:
        """What fixes the latents of an image: the first stage whose encoder this one has, which may be its own."""
        return (self.decoder_of.encoder_identity if self.decoder_of else self.identity)(dataset)

    def key(self, dataset: Dataset) -> str:
        """SHA-256 of the identity."""
        return content_key(self.identity(dataset))

    @property
    def title(self) -> str:
        """What it is, in one line."""
        return f"{self.name}: {self.autoencoder}"

    def latent_shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """(C, H, W) of images -> (c, h, w) of latents; raises InputError where the autoencoder does not take them."""
        try:
            return _latent_shape(self.autoencoder.model_dump_json(), image)
        except InputError as error:
            raise InputError(f"first stage {self.name!r} ({self.autoencoder.name}): {error}") from error

    def completed(self, dataset: Dataset) -> "FirstStage":
        """This first stage with the dataset's `image_channels` where the autoencoder has the option and it is left out."""
        autoencoder = self.autoencoder.completed(AUTOENCODERS, {"image_channels": dataset.channels})
        base = self.decoder_of.completed(dataset) if self.decoder_of else None
        return self.with_fields(autoencoder=autoencoder, decoder_of=base)

    def build_autoencoder(self) -> Any:
        """An Autoencoder; what training needs besides, encoder and decoder parts, only some have."""
        return self.autoencoder.build(AUTOENCODERS)

    def build_perceptual(self) -> Perceptual:
        return self.loss.perceptual.build(PERCEPTUAL)

    def build_discriminator(self) -> nn.Module | None:
        return self.loss.discriminator.build(DISCRIMINATORS) if self.loss.discriminator else None

    def check(self, dataset: Dataset) -> None:
        """Build every part, the networks without memory, once per process; raises InputError for what does not fit."""
        if (key := self.key(dataset)) in _CHECKED:
            return
        loss, base, what = self.loss, self.decoder_of, f"first stage {self.autoencoder}"
        with without_memory():
            autoencoder, discriminator = self.build_autoencoder(), self.build_discriminator()
        self.latent_shape(dataset.shape)
        if not any(True for _ in autoencoder.parameters()):
            raise InputError(f"{what}: there is nothing to train")
        if autoencoder.codebook_size and not loss.regularizer_weight:
            raise InputError(
                f"{what}: loss.regularizer_weight = 0 leaves the codebook without a gradient; the published weight is 1.0"
            )
        self.build_perceptual().check(dataset.channels, dataset.resolution)
        if discriminator is not None:
            try:
                discriminator(torch.empty(2, *dataset.shape, device="meta"))
            except RuntimeError as error:
                c, h, w = dataset.shape
                raise InputError(
                    f"discriminator {loss.discriminator} does not take images of {h}x{w} pixels and {c} channels: {error}"
                ) from error
            if loss.discriminator_start >= self.training.steps:
                raise InputError(
                    f"loss.discriminator_start = {loss.discriminator_start} is never reached in training.steps = "
                    f"{self.training.steps}; leave the discriminator out"
                )
        if base is not None:
            base.check(dataset)
            if base.autoencoder.identity(AUTOENCODERS) != self.autoencoder.identity(AUTOENCODERS):
                raise InputError(
                    f"decoder_of = {base.name!r}: it is {base.autoencoder}, and this first stage is {self.autoencoder}; "
                    "a decoder is trained on for the same autoencoder"
                )
            if not autoencoder.decoder_parts:
                raise InputError(f"decoder_of: {what} does not state which parts are its decoder's")
        self.training.check(dataset)
        _CHECKED.add(key)
