"""The DDPM U-Net: Ho et al. 2020, section 4 and appendix B, with the conventions of the official code.

sin before cos in the time embedding, divisor half - 1; GroupNorm eps 1e-6; stride-2 convolutions padded right and below
only (TensorFlow's SAME); the embedding added between the convolutions; xavier-uniform weights, and close to zero (gain
1e-5) where a residual branch ends. No scale-shift norm, several heads or learned resampling: those are IDDPM's.
"""

from torch import nn

from replication.layers import unet
from replication.layers.attention import Attention
from replication.layers.resnet_block import ResnetBlock
from replication.registry import MODELS

EPS = 1e-6
ZERO_GAIN = 1e-5  # the official scale of 1e-10 is a variance


class UNet(unet.UNet):
    """`network(x [B,in,H,W], timestep [B], cond=None) -> [B,out,H,W]`; out is twice `in` with learned_variance.

    With `classes`, cond is a label Int[B], and `classes` itself says nothing; its embedding is added to the time's.
    """

    version = 1

    def __init__(
        self,
        resolution: int,
        in_channels: int,
        width: int,
        multipliers: tuple[int, ...],
        blocks: int,
        attention_resolutions: tuple[int, ...],
        dropout: float = 0.0,
        groups: int = 32,
        learned_variance: bool = False,
        classes: int = 0,
    ):
        super().__init__(
            resolution,
            in_channels,
            width,
            multipliers,
            blocks,
            [resolution >> i in attention_resolutions for i in range(len(multipliers))],
            lambda channels: Attention(channels, groups, EPS),
            eps=EPS,
            cos_first=False,
            pad_all_sides=False,
            scale_shift=False,
            resampling_blocks=False,
            dropout=dropout,
            groups=groups,
            learned_variance=learned_variance,
            classes=classes,
        )
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        ends: list[nn.Conv2d | nn.Linear] = [self.conv_out]
        ends += [m.conv2 for m in self.modules() if isinstance(m, ResnetBlock)]
        ends += [m.out for m in self.modules() if isinstance(m, Attention)]
        for end in ends:
            nn.init.xavier_uniform_(end.weight, gain=ZERO_GAIN)


@MODELS.register("ddpm-cifar10")
def ddpm_cifar10(dropout: float = 0.1, learned_variance: bool = False) -> UNet:
    """DDPM's CIFAR-10 U-Net, 32x32x3: 35,746,307 parameters (Ho et al. 2020, appendix B)."""
    return UNet(32, 3, 128, (1, 2, 2, 2), 2, (16,), dropout, learned_variance=learned_variance)


@MODELS.register("ddpm-256")
def ddpm_256(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """DDPM's U-Net for LSUN and CelebA-HQ, 256x256x3: 113,673,219 parameters (Ho et al. 2020, appendix B)."""
    return UNet(256, 3, 128, (1, 1, 2, 2, 4, 4), 2, (16,), dropout, learned_variance=learned_variance)


@MODELS.register("ddpm-digits")
def ddpm_digits(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """DDPM's U-Net for digits, 8x8x1, small enough for two CPU cores: 284,513 parameters (after Ho et al. 2020)."""
    return UNet(8, 1, 32, (1, 1), 1, (4,), dropout, groups=8, learned_variance=learned_variance)


@MODELS.register("ddpm-digits-label")
def ddpm_digits_label(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """ddpm-digits conditioned on the digit: 285,921 parameters (after Ho et al. 2020)."""
    return UNet(8, 1, 32, (1, 1), 1, (4,), dropout, groups=8, learned_variance=learned_variance, classes=10)
