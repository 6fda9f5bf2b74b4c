"""The encoder and the decoder of LDM's first stages: VQGAN's, that is DDPM's U-Net without skips and without time.

GroupNorm eps 1e-6, SiLU, stride-2 convolutions padded right and below only, one attention head in the middle and after
every block of some levels. Weights start as PyTorch's layers do, as in the official code.
"""

from collections.abc import Iterable
from typing import NamedTuple, cast

import torch.nn.functional as F
from torch import Tensor, nn

from replication.layers.convolution import Convolution
from replication.layers.unet import Attention, GroupNorm, Level, ResnetBlock, doubled


class Levels(NamedTuple):
    """The resolutions of an encoder and its decoder: level i has width * multipliers[i] channels at factor 2^i."""

    width: int
    multipliers: tuple[int, ...]
    blocks: int
    groups: int
    attention: tuple[int, ...]  # the factors whose blocks are followed by an attention

    @property
    def factor(self) -> int:
        return 2 ** (len(self.multipliers) - 1)


def _level(c_in: int, c_out: int, blocks: int, groups: int, attends: bool) -> Level:
    """[B,c_in,H,W] -> [B,c_out,H,W]: `blocks` residual blocks, an attention after each where it attends."""
    widths = [(c, c_out) for c in (c_in, *[c_out] * (blocks - 1))]
    block, attention = (lambda a, b: ResnetBlock(a, b, 0, 0.0, groups)), (lambda c: Attention(c, groups))
    return Level(widths, block, attention if attends else None)


class Encoder(nn.Module):
    """[B,in,H,W] -> [B,out,H/f,W/f] with f = levels.factor."""

    def __init__(self, c_in: int, c_out: int, levels: Levels):
        super().__init__()
        width, multipliers, blocks, groups, attention = levels
        self.conv_in = nn.Conv2d(c_in, width, 3, padding=1)
        self.down, self.downsample, c = nn.ModuleList(), nn.ModuleList(), width
        for i, multiplier in enumerate(multipliers):
            self.down.append(_level(c, width * multiplier, blocks, groups, 2**i in attention))
            c = width * multiplier
            if i < len(multipliers) - 1:
                self.downsample.append(nn.Conv2d(c, c, 3, stride=2))
        self.middle1 = ResnetBlock(c, c, 0, 0.0, groups)
        self.middle_attention = Attention(c, groups)
        self.middle2 = ResnetBlock(c, c, 0, 0.0, groups)
        self.norm_out = GroupNorm(groups, c, eps=1e-6)
        self.conv_out = nn.Conv2d(c, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for i, level in enumerate(cast(Iterable[Level], self.down)):
            h = level(h)
            if i < len(self.downsample):
                h = self.downsample[i](F.pad(h, (0, 1, 0, 1)))
        h = self.middle2(self.middle_attention(self.middle1(h)))
        return self.conv_out(F.silu(self.norm_out(h)))


class Decoder(nn.Module):
    """[B,in,h,w] -> [B,out,f*h,f*w]: the encoder's levels from coarse to fine, each with one block more."""

    def __init__(self, c_in: int, c_out: int, levels: Levels):
        super().__init__()
        width, multipliers, blocks, groups, attention = levels
        c = width * multipliers[-1]
        self.conv_in = nn.Conv2d(c_in, c, 3, padding=1)
        self.middle1 = ResnetBlock(c, c, 0, 0.0, groups)
        self.middle_attention = Attention(c, groups)
        self.middle2 = ResnetBlock(c, c, 0, 0.0, groups)
        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        for i, multiplier in reversed(list(enumerate(multipliers))):
            self.up.append(_level(c, width * multiplier, blocks + 1, groups, 2**i in attention))
            c = width * multiplier
            if i > 0:
                self.upsample.append(Convolution(c, c))
        self.norm_out = GroupNorm(groups, c, eps=1e-6)
        self.conv_out = nn.Conv2d(c, c_out, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.middle2(self.middle_attention(self.middle1(self.conv_in(z))))
        for i, level in enumerate(cast(Iterable[Level], self.up)):
            h = level(h)
            if i < len(self.upsample):
                h = self.upsample[i](doubled(h))
        return self.conv_out(F.silu(self.norm_out(h)))
