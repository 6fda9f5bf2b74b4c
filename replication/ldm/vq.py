"""Autoencoders with a codebook: Rombach et al. 2022, section 3.1, "VQ-reg."; van den Oord et al. 2017, equation 3.

Published for 256x256 images: f4 (64x64x3, 8,192 codes), f8 (32x32x4, 16,384) and f16 (16x16x8, 16,384). f2 (two
channels, 2,048 codes) and f32 (16 channels, 16,384) are from memory of the paper's table 8. The diffusion model sees the
latents before quantisation; the quantiser is the decoder's first layer (section 3.1).
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from replication.ldm.autoencoder import Reconstruction, Scaling, at_least_float32, require_factor
from replication.ldm.autoencoder_networks import Levels, TrainedAutoencoder
from replication.registry import AUTOENCODERS

BETA = 0.25
CHUNK = 16_384  # latent vectors that are compared with the codebook at once: 1 GiB of distances for 16,384 codes


class VQAutoencoder(TrainedAutoencoder):
    """moments: the latents before quantisation, [B,c,h,w]; `decode` replaces each vector by the nearest code.

    `beta_weighs`: which term of the penalty 0.25 weighs. "commitment" is van den Oord et al.'s equation; the official
    LDM code inherits a quantiser that multiplies the codebook's term instead, and keeps it for its published models.
    """

    def __init__(
        self,
        image_channels: int,
        levels: Levels,
        latent_channels: int,
        codes: int,
        scaling: Scaling = "none",
        beta_weighs: Literal["commitment", "codebook"] = "commitment",
    ):
        super().__init__(image_channels, latent_channels, latent_channels, levels, scaling)
        self.quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)
        self.codebook, self.codebook_size = nn.Embedding(codes, latent_channels), codes
        nn.init.uniform_(self.codebook.weight, -1 / codes, 1 / codes)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)
        self.weights = (1.0, BETA) if beta_weighs == "commitment" else (BETA, 1.0)  # codebook, commitment

    def moments(self, x: Tensor) -> Tensor:
        return at_least_float32(self.quant_conv(self.encoder(x)))

    @torch.no_grad()
    def codes(self, z: Tensor) -> Tensor:
        """The nearest code of each unscaled latent vector, Int[B,h,w]."""
        vectors = z.movedim(1, -1).flatten(0, 2)  # [B*h*w,c]
        # differences, not products: those of TF32 or bfloat16 are too coarse to tell neighbouring codes apart
        book, mode = self.codebook.weight.to(z.dtype), "donot_use_mm_for_euclid_dist"
        nearest = [torch.cdist(part, book, compute_mode=mode).argmin(1) for part in vectors.split(CHUNK)]
        return torch.cat(nearest).reshape(len(z), *z.shape[2:])

    def reconstruct(self, x: Tensor, noise: Tensor | None = None) -> Reconstruction:
        """The penalty is codebook + 0.25 commitment (see `beta_weighs`), each a mean over the latents.

        The gradient passes the quantiser unchanged. `noise` is not used: there is no distribution.
        """
        z = self.moments(x)
        codes = self.codes(z)
        nearest = self._vectors(codes)
        codebook, commitment = self.weights
        penalty = codebook * (nearest - z.detach()).square() + commitment * (nearest.detach() - z).square()
        passed = z + (nearest - z).detach()
        return Reconstruction(self.decoder(self.post_quant_conv(passed)), penalty.flatten(1).mean(1), codes)

    def _latent(self, moments: Tensor, noise: Tensor | None) -> Tensor:
        return moments

    def _decode(self, z: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(self._vectors(self.codes(z))))

    def _vectors(self, codes: Tensor) -> Tensor:
        return self.codebook(codes).movedim(-1, 1)  # [B,c,h,w]


def _sized(
    f: int, channels: int, codes: int, published: list[int], attention: tuple[int, ...] = ()
) -> Callable[..., VQAutoencoder]:
    """The factory of vq-f<f>, with the published values as defaults; `attention` are factors, 256 / attn_resolutions."""

    def build(
        image_channels: int = 3,
        width: int = 128,
        multipliers: list[int] = published,
        blocks: int = 2,
        latent_channels: int = channels,
        groups: int = 32,
        codebook: int = codes,
        scaling: Scaling = "none",
        beta_weighs: Literal["commitment", "codebook"] = "commitment",
    ) -> VQAutoencoder:
        require_factor(f"vq-f{f}", f, multipliers)
        levels = Levels(width, tuple(multipliers), blocks, groups, attention)
        return VQAutoencoder(image_channels, levels, latent_channels, codebook, scaling, beta_weighs)

    return build


AUTOENCODERS.register("vq-f2", summary="2,048 codes, f = 2, 2 latent channels (Rombach et al. 2022).")(
    _sized(2, 2, 2048, [1, 2])
)
AUTOENCODERS.register("vq-f4", summary="8,192 codes, f = 4, 3 latent channels (Rombach et al. 2022).")(
    _sized(4, 3, 8192, [1, 2, 4])
)
AUTOENCODERS.register("vq-f8", summary="16,384 codes, f = 8, 4 latent channels (Rombach et al. 2022).")(
    _sized(8, 4, 16_384, [1, 2, 2, 4], attention=(8,))
)
AUTOENCODERS.register("vq-f16", summary="16,384 codes, f = 16, 8 latent channels (Rombach et al. 2022).")(
    _sized(16, 8, 16_384, [1, 1, 2, 2, 4], attention=(16,))
)
AUTOENCODERS.register("vq-f32", summary="16,384 codes, f = 32, 16 latent channels (Rombach et al. 2022).")(
    _sized(32, 16, 16_384, [1, 1, 2, 2, 4, 4], attention=(16, 32))
)
