"""LDM's first stages and their published sizes: Rombach et al. 2022, section 3.1.

"KL-reg.": a Gaussian posterior, held near N(0, 1). "VQ-reg.": a codebook (van den Oord et al. 2017, equation 3); the
diffusion model sees the latents before quantisation, and the quantiser is the decoder's first layer. Published for 256x256
images; of kl-f2, vq-f2 and vq-f32, whose weights were not, table 8 has the channels and codes alone.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from replication.ldm.autoencoder import Autoencoder, Reconstruction, Scaling
from replication.ldm.autoencoder_networks import Decoder, Encoder, Levels
from replication.registry import AUTOENCODERS
from replication.types import InputError

LOG_VARIANCE = (-30.0, 20.0)  # the official bounds
BETA = 0.25
CHUNK = 16_384  # latent vectors that are compared with the codebook at once: 1 GiB of distances for 16,384 codes
Beta = Literal["commitment", "codebook"]


class TrainedAutoencoder(Autoencoder):
    """`c_moments`: the encoder's output channels. A subclass adds what lies between encoder and decoder.

    projections: whether there are 1x1 convolutions around the latents; Stable Diffusion 3's and FLUX's has none.
    """

    decoder_parts = ("decoder", "post_quant_conv", "codebook")

    def __init__(
        self,
        image_channels: int,
        c_moments: int,
        latent_channels: int,
        levels: Levels,
        scaling: Scaling,
        projections: bool = True,
    ):
        super().__init__(levels.factor, latent_channels, image_channels, scaling)
        self.encoder = Encoder(image_channels, c_moments, levels)
        self.decoder = Decoder(latent_channels, image_channels, levels)
        self.quant_conv = nn.Conv2d(c_moments, c_moments, 1) if projections else nn.Identity()

    def moments(self, x: Tensor) -> Tensor:
        """In float32 where products are in bfloat16: those are good enough, and sums are not."""
        answer = self.quant_conv(self.encoder(x))
        return answer.to(torch.promote_types(answer.dtype, torch.float32))

    @property
    def last_layer(self) -> Tensor:
        """The decoder's last weights, at which the discriminator's adaptive weight compares gradients."""
        return self.decoder.conv_out.weight


class KLAutoencoder(TrainedAutoencoder):
    """moments: mean and clamped log-variance, [B,2c,h,w]; latents: mean + standard deviation * noise."""

    def __init__(
        self,
        image_channels: int,
        levels: Levels,
        latent_channels: int,
        scaling: Scaling = "none",
        projections: bool = True,
    ):
        super().__init__(image_channels, 2 * latent_channels, latent_channels, levels, scaling, projections)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1) if projections else nn.Identity()

    def moments(self, x: Tensor) -> Tensor:
        mean, log_variance = super().moments(x).chunk(2, dim=1)
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
        beta_weighs: Beta = "commitment",
    ):
        super().__init__(image_channels, latent_channels, latent_channels, levels, scaling)
        self.codebook, self.codebook_size = nn.Embedding(codes, latent_channels), codes
        nn.init.uniform_(self.codebook.weight, -1 / codes, 1 / codes)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)
        self.weights = (1.0, BETA) if beta_weighs == "commitment" else (BETA, 1.0)  # codebook, commitment

    @torch.no_grad()
    def codes(self, z: Tensor) -> Tensor:
        """The nearest code of each unscaled latent vector, Int[B,h,w]."""
        vectors = z.movedim(1, -1).flatten(0, 2)  # [B*h*w,c]
        # differences, not products: those of TF32 or bfloat16 are too coarse to distinguish neighbouring codes
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


def _fitting(kind: str, f: int, levels: Levels) -> Levels:
    """Raises InputError unless the levels divide a side by the f that the autoencoder is named for."""
    if levels.factor != f:
        what, n = f"autoencoder '{kind}-f{f}': multipliers = {list(levels.multipliers)}", len(levels.multipliers)
        raise InputError(f"{what} are {n} levels; f = {f} has {f.bit_length()}")
    return levels


def _kl(
    f: int,
    channels: int,
    published: list[int],
    attention: tuple[int, ...] = (),
    scale: Scaling = "none",
    projections: bool = True,
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
        levels = _fitting("kl", f, Levels(width, tuple(multipliers), blocks, groups, attention))
        return KLAutoencoder(image_channels, levels, latent_channels, scaling, projections)

    return build


def _vq(
    f: int, channels: int, codes: int, published: list[int], attention: tuple[int, ...] = ()
) -> Callable[..., VQAutoencoder]:
    """The factory of vq-f<f>, likewise."""

    def build(
        image_channels: int = 3,
        width: int = 128,
        multipliers: list[int] = published,
        blocks: int = 2,
        latent_channels: int = channels,
        groups: int = 32,
        codebook: int = codes,
        scaling: Scaling = "none",
        beta_weighs: Beta = "commitment",
    ) -> VQAutoencoder:
        levels = _fitting("vq", f, Levels(width, tuple(multipliers), blocks, groups, attention))
        return VQAutoencoder(image_channels, levels, latent_channels, codebook, scaling, beta_weighs)

    return build


AUTOENCODERS.register("kl-f2", summary="KL-reg., f = 2, 2 latent channels (Rombach et al. 2022).")(_kl(2, 2, [1, 2]))
AUTOENCODERS.register("kl-f4", summary="KL-reg., f = 4, 3 latent channels (Rombach et al. 2022).")(_kl(4, 3, [1, 2, 4]))
AUTOENCODERS.register("kl-f8", summary="KL-reg., f = 8, 4 latent channels (Rombach et al. 2022); Stable Diffusion's.")(
    _kl(8, 4, [1, 2, 4, 4], scale="sd-v1")
)
AUTOENCODERS.register("kl-f8-c16", summary="KL-reg., f = 8, 16 latent channels (Esser et al. 2024); SD3's and FLUX's.")(
    _kl(8, 16, [1, 2, 4, 4], scale="sd3", projections=False)
)
AUTOENCODERS.register("kl-f16", summary="KL-reg., f = 16, 16 latent channels (Rombach et al. 2022).")(
    _kl(16, 16, [1, 1, 2, 2, 4], attention=(16,))
)
AUTOENCODERS.register("kl-f32", summary="KL-reg., f = 32, 64 latent channels (Rombach et al. 2022).")(
    _kl(32, 64, [1, 1, 2, 2, 4, 4], attention=(16, 32))
)
AUTOENCODERS.register("vq-f2", summary="2,048 codes, f = 2, 2 latent channels (Rombach et al. 2022).")(
    _vq(2, 2, 2048, [1, 2])
)
AUTOENCODERS.register("vq-f4", summary="8,192 codes, f = 4, 3 latent channels (Rombach et al. 2022).")(
    _vq(4, 3, 8192, [1, 2, 4])
)
AUTOENCODERS.register("vq-f8", summary="16,384 codes, f = 8, 4 latent channels (Rombach et al. 2022).")(
    _vq(8, 4, 16_384, [1, 2, 2, 4], attention=(8,))
)
AUTOENCODERS.register("vq-f16", summary="16,384 codes, f = 16, 8 latent channels (Rombach et al. 2022).")(
    _vq(16, 8, 16_384, [1, 1, 2, 2, 4], attention=(16,))
)
AUTOENCODERS.register("vq-f32", summary="16,384 codes, f = 32, 16 latent channels (Rombach et al. 2022).")(
    _vq(32, 16, 16_384, [1, 1, 2, 2, 4, 4], attention=(16, 32))
)
