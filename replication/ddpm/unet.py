"""The DDPM U-Net: Ho et al. 2020, section 4 and appendix B, with the conventions of the official code.

sin before cos in the time embedding, divisor half - 1; GroupNorm eps 1e-6; stride-2 convolutions padded right and below
only (TensorFlow's SAME); the embedding added between the convolutions; xavier-uniform weights, and close to zero (gain
1e-5) where a residual branch ends. No scale-shift norm, several heads or learned resampling: those are IDDPM's.
"""

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.layers.attention import Attention
from replication.layers.resnet_block import ResnetBlock
from replication.layers.timestep_embedding import timestep_embedding
from replication.registry import MODELS
from replication.types import InputError

ZERO_GAIN = 1e-5  # the official scale of 1e-10 is a variance


class Level(nn.Module):
    """The blocks at one resolution, an attention after each where it applies."""

    def __init__(self, widths: list[tuple[int, int]], embedding: int, dropout: float, groups: int, attends: bool):
        super().__init__()
        self.blocks = nn.ModuleList(ResnetBlock(a, b, embedding, dropout, groups) for a, b in widths)
        self.attentions = nn.ModuleList(Attention(b, groups) if attends else nn.Identity() for _, b in widths)

    def __len__(self) -> int:
        return len(self.blocks)

    def step(self, i: int, x: Tensor, embedding: Tensor) -> Tensor:
        return self.attentions[i](self.blocks[i](x, embedding))


class UNet(nn.Module):
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
        super().__init__()
        self.resolution, self.in_channels, self.multipliers, self.blocks = resolution, in_channels, multipliers, blocks
        self.attends = [resolution >> i in attention_resolutions for i in range(len(multipliers))]
        self.groups = groups
        self.width, embedding = width, 4 * width
        self.embed = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.classes = classes
        self.label = nn.Embedding(classes + 1, embedding) if classes else None
        self.conv_in = nn.Conv2d(in_channels, width, 3, padding=1)

        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        skips, c = [width], width
        for i, multiplier in enumerate(multipliers):
            widths = [(c if j == 0 else width * multiplier, width * multiplier) for j in range(blocks)]
            self.down.append(Level(widths, embedding, dropout, groups, self.attends[i]))
            c = width * multiplier
            skips += [c] * blocks
            if i < len(multipliers) - 1:
                self.downsample.append(nn.Conv2d(c, c, 3, stride=2))
                skips.append(c)

        self.middle1 = ResnetBlock(c, c, embedding, dropout, groups)
        self.middle_attention = Attention(c, groups)
        self.middle2 = ResnetBlock(c, c, embedding, dropout, groups)

        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        for i in reversed(range(len(multipliers))):
            widths = []
            for _ in range(blocks + 1):
                widths.append((c + skips.pop(), width * multipliers[i]))
                c = width * multipliers[i]
            self.up.append(Level(widths, embedding, dropout, groups, self.attends[i]))
            if i > 0:
                self.upsample.append(nn.Conv2d(c, c, 3, padding=1))

        self.norm_out = nn.GroupNorm(groups, c, eps=1e-6)
        self.conv_out = nn.Conv2d(c, in_channels * (2 if learned_variance else 1), 3, padding=1)
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

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        embedding = self.embed(timestep_embedding(timestep, self.width))  # [B,4*width]
        if self.label is not None:
            if cond is None:
                raise InputError("this network is conditional: it needs a label for every image")
            embedding = embedding + self.label(cond)
        h = self.conv_in(x)
        skips = [h]
        for i, level in enumerate(cast(Iterable[Level], self.down)):
            for j in range(len(level)):
                h = level.step(j, h, embedding)
                skips.append(h)
            if i < len(self.downsample):
                h = self.downsample[i](F.pad(h, (0, 1, 0, 1)))
                skips.append(h)
        h = self.middle2(self.middle_attention(self.middle1(h, embedding)), embedding)
        for i, level in enumerate(cast(Iterable[Level], self.up)):
            for j in range(len(level)):
                h = level.step(j, torch.cat([h, skips.pop()], dim=1), embedding)
            if i < len(self.upsample):
                h = self.upsample[i](F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(h)))


@MODELS.register("ddpm-cifar10")
def ddpm_cifar10(dropout: float = 0.1, learned_variance: bool = False) -> UNet:
    """The CIFAR-10 network: 35,746,307 parameters, 32x32x3."""
    return UNet(32, 3, 128, (1, 2, 2, 2), 2, (16,), dropout, learned_variance=learned_variance)


@MODELS.register("ddpm-256")
def ddpm_256(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """The network for LSUN and CelebA-HQ at 256x256x3: 113,673,219 parameters."""
    return UNet(256, 3, 128, (1, 1, 2, 2, 4, 4), 2, (16,), dropout, learned_variance=learned_variance)


@MODELS.register("ddpm-digits")
def ddpm_digits(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """The same architecture for digits, 8x8x1, small enough for two CPU cores: 284,513 parameters."""
    return UNet(8, 1, 32, (1, 1), 1, (4,), dropout, groups=8, learned_variance=learned_variance)


@MODELS.register("ddpm-digits-label")
def ddpm_digits_label(dropout: float = 0.0, learned_variance: bool = False) -> UNet:
    """ddpm-digits told which digit it is: 285,921 parameters."""
    return UNet(8, 1, 32, (1, 1), 1, (4,), dropout, groups=8, learned_variance=learned_variance, classes=10)
