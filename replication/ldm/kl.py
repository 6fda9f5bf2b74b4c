"""Autoencoders with a Gaussian posterior, held near N(0, 1): Rombach et al. 2022, section 3.1, "KL-reg.".

Published for 256x256 images: f4 (64x64x3), f8 (32x32x4), f16 (16x16x16) and f32 (8x8x64). f2 is from memory of the
paper's table 8 (two latent channels); its weights were not published.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from replication.ldm.autoencoder import Reconstruction, Scaling, at_least_float32, require_factor
from replication.ldm.autoencoder_networks import Levels, TrainedAutoencoder
from replication.registry import AUTOENCODERS

LOG_VARIANCE = (-30.0, 20.0)  # the official bounds


class KLAutoencoder(TrainedAutoencoder):
    """moments: mean and clamped log-variance, [B,2c,h,w]; latents: mean + standard deviation * noise."""

    def __init__(self, image_channels: int, levels: Levels, latent_channels: int, scaling: Scaling = "none"):
        super().__init__(image_channels, 2 * latent_channels, latent_channels, levels, scaling)
        self.quant_conv = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)

    def moments(self, x: Tensor) -> Tensor:
        mean, log_variance = at_least_float32(self.quant_conv(self.encoder(x))).chunk(2, dim=1)
        return torch.cat([mean, log_variance.clamp(*LOG_VARIANCE)], dim=1)

    def reconstruct(self, x: Tensor, noise: Tensor | None = None) -> Reconstruction:
        """The penalty is KL(posterior || N(0, 1)), summed over the latents and divided by the image's C*H*W values."""
        moments = self.moments(x)
        mean, log_variance = moments.chunk(2, dim=1)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)  # [B,c,h,w]
        return Reconstruction(self._decode(self._latent(moments, noise)), divergence.flatten(1).sum(1) / x[0].numel())

    def _latent(self, moments: Tensor, noise: Tensor | None) -> Tensor:
        mean, log_variance = moments.chunk(2, dim=1)
        return mean if noise is None else mean + (0.5 * log_variance).exp() * noise

    def _decode(self, z: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(z))


def _sized(
    f: int, channels: int, published: list[int], attention: tuple[int, ...] = (), scale: Scaling = "none"
) -> Callable[..., KLAutoencoder]:
    """The factory of kl-f<f>, with the published values as defaults; `attention` are factors, 256 / attn_resolutions."""

    def build(
        image_channels: int = 3,
        width: int = 128,
        multipliers: list[int] = published,
        blocks: int = 2,
        latent_channels: int = channels,
        groups: int = 32,
        scaling: Scaling = scale,
    ) -> KLAutoencoder:
        require_factor(f"kl-f{f}", f, multipliers)
        levels = Levels(width, tuple(multipliers), blocks, groups, attention)
        return KLAutoencoder(image_channels, levels, latent_channels, scaling)

    return build


AUTOENCODERS.register("kl-f2", summary="KL-reg., f = 2, 2 latent channels (Rombach et al. 2022).")(_sized(2, 2, [1, 2]))
AUTOENCODERS.register("kl-f4", summary="KL-reg., f = 4, 3 latent channels (Rombach et al. 2022).")(
    _sized(4, 3, [1, 2, 4])
)
AUTOENCODERS.register("kl-f8", summary="KL-reg., f = 8, 4 latent channels (Rombach et al. 2022); Stable Diffusion's.")(
    _sized(8, 4, [1, 2, 4, 4], scale="sd-v1")
)
AUTOENCODERS.register("kl-f16", summary="KL-reg., f = 16, 16 latent channels (Rombach et al. 2022).")(
    _sized(16, 16, [1, 1, 2, 2, 4], attention=(16,))
)
AUTOENCODERS.register("kl-f32", summary="KL-reg., f = 32, 64 latent channels (Rombach et al. 2022).")(
    _sized(32, 64, [1, 1, 2, 2, 4, 4], attention=(16, 32))
)
