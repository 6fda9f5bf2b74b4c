"""What every first stage answers: Rombach et al. 2022, section 3.1 and appendix G.

Latents are z = scale * (latents of the autoencoder - shift), and both numbers live here alone: `latent` applies them and
`decode` takes them off. The published first stages have them in these ways, named by `scaling`; the shift is mostly 0:

    none    1: the official code's default, and every published VQ model
    sd-v1   0.18215: the text-to-image model's kl-f8, and Stable Diffusion's
    sdxl    0.13025: SDXL's kl-f8
    sd3     1.5305 and a shift of 0.0609: Stable Diffusion 3's, of 16 channels
    flux    0.3611 and a shift of 0.1159: FLUX's, likewise
    std     1 / standard deviation of the latents of the first batch, measured once (LSUN churches, kl-f8)
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from replication.registry import AUTOENCODERS
from replication.types import InputError, RunError

Scaling = Literal["std", "sd-v1", "sdxl", "sd3", "flux", "none"]
SCALES: dict[Scaling, float] = {
    "std": math.nan, "sd-v1": 0.18215, "sdxl": 0.13025, "sd3": 1.5305, "flux": 0.3611, "none": 1.0
}  # fmt: skip
SHIFTS: dict[Scaling, float] = {"sd3": 0.0609, "flux": 0.1159}


class Reconstruction(NamedTuple):
    """What training needs of one batch."""

    x: Tensor  # [B,C,H,W], not clamped
    penalty: Tensor  # [B], the regularizer in units of a mean over the image's C*H*W values, see `reconstruct`
    codes: Tensor | None = None  # Int[B,h,w], which entries of the codebook; None without a codebook


class Autoencoder(nn.Module, ABC):
    """Images [B,C,H,W] in [-1, 1] <-> scaled latents [B,c,H/f,W/f].

    `moments` is what is worth caching of an image, `latent` turns it into latents, with noise where the posterior is a
    distribution. Training calls `reconstruct`, which does not scale.
    """

    version = 1
    decoder_parts: tuple[str, ...] = ()  # the modules that `moments` does not use; all others are the encoder's
    codebook_size = 0  # entries of the codebook, where there is one
    scale: Tensor  # [], NaN until measured where scaling is "std"; a checkpoint holds it only there

    def __init__(self, f: int, latent_channels: int, image_channels: int, scaling: Scaling):
        super().__init__()
        self.f, self.latent_channels, self.image_channels, self.scaling = f, latent_channels, image_channels, scaling
        self.register_buffer("scale", torch.tensor(SCALES[scaling]), persistent=scaling == "std")
        self._measured, self.shift = scaling != "std", SHIFTS.get(scaling, 0.0)

    @abstractmethod
    def moments(self, x: Tensor) -> Tensor:
        """What fixes the latents of the images, unscaled, [B,m,h,w]."""

    @abstractmethod
    def reconstruct(self, x: Tensor, noise: Tensor | None = None) -> Reconstruction:
        """The images through the bottleneck, for training; noise has the shape of the latents.

        One convention for all: a loss is a mean over the C*H*W values of an image. The official KL loss sums both the
        reconstruction's and the posterior's terms over their dimensions; dividing both by C*H*W keeps their ratio, so
        the published weight 1e-6 means the same here. The official VQ losses are means already.
        """

    @abstractmethod
    def _latent(self, moments: Tensor, noise: Tensor | None) -> Tensor:
        """Latents before scaling, [B,c,h,w]."""

    @abstractmethod
    def _decode(self, z: Tensor) -> Tensor:
        """Images of unscaled latents."""

    def latent(self, moments: Tensor, noise: Tensor | None = None) -> Tensor:
        """Scaled latents [B,c,h,w]; noise, of their shape, draws from the posterior, without it they are its mode.

        Raises InputError where the scale has not been measured yet.
        """
        latent = self._latent(moments, noise)
        return (latent - self.shift if self.shift else latent) * self._known_scale()

    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Images [B,C,H,W] -> scaled latents [B,c,h,w]; see `latent`."""
        return self.latent(self.moments(x), noise)

    def decode(self, z: Tensor) -> Tensor:
        """Scaled latents [B,c,h,w] -> images [B,C,H,W], not clamped."""
        latent = z / self._known_scale()
        return self._decode(latent + self.shift if self.shift else latent)

    def latent_shape(self, image: Sequence[int]) -> tuple[int, int, int]:
        """(C, H, W) -> (c, h, w). Raises InputError for other channels, and for a side that f does not divide."""
        channels, height, width = image
        if channels != self.image_channels:
            raise InputError(
                f"the autoencoder takes images of {self.image_channels} channels, not {channels}; "
                f"image_channels = {channels} changes it"
            )
        for side, pixels in (("height", height), ("width", width)):
            if pixels % self.f or not pixels:
                raise InputError(f"the autoencoder's f = {self.f} does not divide the {side} of {pixels} pixels")
        return self.latent_channels, height // self.f, width // self.f

    @torch.no_grad()
    def fit_scale(self, moments: Tensor, noise: Tensor | None = None) -> None:
        """Set the scale to 1 / standard deviation over all values of these latents, the first batch's.

        Raises InputError where the scaling is not "std", RunError where the latents have no spread.
        """
        if self.scaling != "std":
            raise InputError(f"scaling {self.scaling!r} fixes the scale; only 'std' measures it")
        scale = 1 / self._latent(moments, noise).float().std()
        if not scale.isfinite():
            raise RunError("the latents of the first batch have no finite spread: they can't be scaled to variance 1")
        self.scale.copy_(scale)

    def _known_scale(self) -> Tensor:
        """The scale, looked at once: reading it waits for the device."""
        if not self._measured and not self.scale.is_meta:
            if self.scale.isnan():
                raise InputError("scaling 'std': the scale was not measured yet; fit_scale does, on the first batch")
            self._measured = True
        return self.scale


@AUTOENCODERS.register("identity")
class Identity(Autoencoder):
    """Latents are the images themselves, f = 1: pixel diffusion as a latent diffusion.

    Everything returns its argument, [B,C,H,W]; there is nothing to train and nothing to scale.
    """

    def __init__(self, image_channels: int = 3):
        super().__init__(1, image_channels, image_channels, "none")

    def moments(self, x: Tensor) -> Tensor:
        return x

    def latent(self, moments: Tensor, noise: Tensor | None = None) -> Tensor:
        return moments

    def decode(self, z: Tensor) -> Tensor:
        return z

    def reconstruct(self, x: Tensor, noise: Tensor | None = None) -> Reconstruction:
        return Reconstruction(x, torch.zeros(len(x), device=x.device))

    def _latent(self, moments: Tensor, noise: Tensor | None) -> Tensor:
        return moments

    def _decode(self, z: Tensor) -> Tensor:
        return z
