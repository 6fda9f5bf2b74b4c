"""The DDPM U-Net: Ho et al. 2020, section 4 and appendix B, with the conventions of the official code.

sin before cos in the time embedding, divisor half - 1; GroupNorm eps 1e-6; stride-2 convolutions padded right and below
only (TensorFlow's SAME); the embedding added between the convolutions; xavier-uniform weights, and close to zero (gain
1e-5) where a residual branch ends. No scale-shift norm, several heads or learned resampling: those are IDDPM's.
"""

from torch import nn

from replication.layers.unet import Attention, UNet
from replication.registry import MODELS

EPS = 1e-6
ZERO_GAIN = 1e-5  # the official scale of 1e-10 is a variance


@MODELS.register("ddpm-unet")
def ddpm_unet(
    resolution: int,
    channels: int,
    width: int,
    multipliers: list[int],
    blocks: int,
    attention: list[int],
    dropout: float = 0.0,
    groups: int = 32,
    learned_variance: bool = False,
    classes: int = 0,
) -> UNet:
    """DDPM's U-Net of any size (Ho et al. 2020, appendix B).

    attention: the resolutions, 16 for 16x16, of the levels that have it. With `classes`, cond is a label Int[B] whose
    embedding is added to the time's.
    """
    network = UNet(
        resolution,
        channels,
        width,
        multipliers,
        blocks,
        [resolution >> i in attention for i in range(len(multipliers))],
        lambda _, c: Attention(c, groups, EPS),
        eps=EPS,
        cos_first=False,
        pad_all_sides=False,
        dropout=dropout,
        groups=groups,
        learned_variance=learned_variance,
        classes=classes,
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for end in network.ends:
        nn.init.xavier_uniform_(end.weight, gain=ZERO_GAIN)
    return network


@MODELS.register("ddpm-cifar10")
def ddpm_cifar10(dropout: float = 0.1, learned_variance: bool = False) -> UNet:
    """DDPM's CIFAR-10 U-Net, 32x32x3: 35,746,307 parameters (Ho et al. 2020, appendix B)."""
    return ddpm_unet(32, 3, 128, [1, 2, 2, 2], 2, [16], dropout, learned_variance=learned_variance)


@MODELS.register("ddpm-256")
def ddpm_256(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """DDPM's U-Net for LSUN and CelebA-HQ, 256x256x3: 113,673,219 parameters (Ho et al. 2020, appendix B)."""
    return ddpm_unet(256, 3, 128, [1, 1, 2, 2, 4, 4], 2, [16], dropout, learned_variance=learned_variance)


@MODELS.register("ddpm-digits")
def ddpm_digits(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """DDPM's U-Net for digits, 8x8x1, small enough for two CPU cores: 284,513 parameters (after Ho et al. 2020)."""
    return ddpm_unet(8, 1, 32, [1, 1], 1, [4], dropout, groups=8, learned_variance=learned_variance)


@MODELS.register("ddpm-digits-label")
def ddpm_digits_label(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """ddpm-digits conditioned on the digit: 285,921 parameters (after Ho et al. 2020)."""
    return ddpm_unet(8, 1, 32, [1, 1], 1, [4], dropout, groups=8, learned_variance=learned_variance, classes=10)
