"""The U-Net that DDPM and LDM share: Ho et al. 2020, appendix B; Dhariwal and Nichol 2021 (ADM); Rombach et al. 2022.

Residual blocks with skips from the way down to the way up, an attention after each block where a level attends, and
always one in the middle. The papers' conventions are arguments without a default: whoever uses it names them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.layers.encoder import Conditional, Encoder
from replication.layers.label_embedding import LabelEmbedding
from replication.layers.resnet_block import Resample, ResnetBlock, doubled, halved
from replication.layers.timestep_embedding import timestep_embedding
from replication.types import InputError

MakeBlock = Callable[[int, int], nn.Module]
MakeAttention = Callable[[int], nn.Module]


class Level(nn.Module):
    """The blocks at one resolution, an attention after each where it applies."""

    def __init__(self, widths: list[tuple[int, int]], block: MakeBlock, attention: MakeAttention | None):
        super().__init__()
        self.attends = attention is not None
        self.blocks = nn.ModuleList(block(a, b) for a, b in widths)
        self.attentions = nn.ModuleList(attention(b) if attention else nn.Identity() for _, b in widths)

    def __len__(self) -> int:
        return len(self.blocks)

    def step(self, i: int, x: Tensor, embedding: Tensor, *context: Tensor) -> Tensor:
        h = self.blocks[i](x, embedding)
        return self.attentions[i](h, *context) if self.attends else h


class UNet(Conditional):
    """`network(x [B,in,H,W], timestep [B], cond=None) -> [B,out,H,W]`; out is twice `in` with learned_variance.

    attends: for each level whether it attends; attention: makes one of so many channels, which is called with the
    features and, in a network that knows a context, with the context [B,L,D]. eps: of the GroupNorms. cos_first: see
    timestep_embedding. pad_all_sides: the stride-2 convolutions are padded by 1 all around, or else right and below.
    scale_shift: how blocks hear the time, see ResnetBlock. resampling_blocks: such blocks halve and double the images,
    in the place of convolutions.
    classes: cond is a label Int[B] whose embedding is added to the time's, and `classes` itself says nothing.
    A network that takes no condition does not look at cond. Raises InputError where cond or the image size does not fit.
    """

    def __init__(
        self,
        resolution: int,
        in_channels: int,
        width: int,
        multipliers: tuple[int, ...],
        blocks: int,
        attends: Sequence[bool],
        attention: MakeAttention,
        *,
        eps: float,
        cos_first: bool,
        pad_all_sides: bool,
        scale_shift: bool,
        resampling_blocks: bool,
        dropout: float,
        groups: int,
        learned_variance: bool,
        classes: int,
    ):
        super().__init__()
        self.resolution, self.in_channels, self.multipliers, self.blocks = resolution, in_channels, multipliers, blocks
        self.attends, self.groups, self.width = list(attends), groups, width
        self.cos_first, self.pad_all_sides = cos_first, pad_all_sides
        self.scale_shift, self.resampling_blocks = scale_shift, resampling_blocks
        embedding = 4 * width
        self.embed = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label = LabelEmbedding(classes, embedding) if classes else None
        self.conv_in = nn.Conv2d(in_channels, width, 3, padding=1)

        def block(a: int, b: int, resample: Resample | None = None) -> ResnetBlock:
            return ResnetBlock(a, b, embedding, dropout, groups, eps, scale_shift, resample)

        def level(i: int, widths: list[tuple[int, int]]) -> Level:
            return Level(widths, block, attention if self.attends[i] else None)

        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        skips, c = [width], width
        for i, multiplier in enumerate(multipliers):
            widths = [(c if j == 0 else width * multiplier, width * multiplier) for j in range(blocks)]
            self.down.append(level(i, widths))
            c = width * multiplier
            skips += [c] * blocks
            if i < len(multipliers) - 1:
                convolution = nn.Conv2d(c, c, 3, stride=2, padding=1 if pad_all_sides else 0)
                self.downsample.append(block(c, c, halved) if resampling_blocks else convolution)
                skips.append(c)

        self.middle1 = block(c, c)
        self.middle_attention = attention(c)
        self.middle2 = block(c, c)

        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        for i in reversed(range(len(multipliers))):
            widths = []
            for _ in range(blocks + 1):
                widths.append((c + skips.pop(), width * multipliers[i]))
                c = width * multipliers[i]
            self.up.append(level(i, widths))
            if i > 0:
                self.upsample.append(block(c, c, doubled) if resampling_blocks else nn.Conv2d(c, c, 3, padding=1))

        self.norm_out = nn.GroupNorm(groups, c, eps)
        self.conv_out = nn.Conv2d(c, in_channels * (2 if learned_variance else 1), 3, padding=1)

    @property
    def encoder(self) -> Encoder | None:
        return self.label

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        embedding = self.embed(timestep_embedding(timestep, self.width, self.cos_first))  # [B,4*width]
        said = self.said(cond)
        if said is None:
            return self.trunk(x, embedding)
        return self.trunk(x, embedding + said) if said.ndim == 2 else self.trunk(x, embedding, said)

    def trunk(self, x: Tensor, embedding: Tensor, *context: Tensor) -> Tensor:
        """[B,in,H,W], what is added in every block [B,4*width], and the attentions' context -> [B,out,H,W]."""
        self._check_size(x)
        h = self.conv_in(x)
        skips = [h]
        for i, level in enumerate(cast(Iterable[Level], self.down)):
            for j in range(len(level)):
                h = level.step(j, h, embedding, *context)
                skips.append(h)
            if i < len(self.downsample):
                h = self._halve(i, h, embedding)
                skips.append(h)
        h = self.middle2(self.middle_attention(self.middle1(h, embedding), *context), embedding)
        for i, level in enumerate(cast(Iterable[Level], self.up)):
            for j in range(len(level)):
                h = level.step(j, torch.cat([h, skips.pop()], dim=1), embedding, *context)
            if i < len(self.upsample):
                h = self.upsample[i](h, embedding) if self.resampling_blocks else self.upsample[i](doubled(h))
        return self.conv_out(F.silu(self.norm_out(h)))

    def _halve(self, i: int, h: Tensor, embedding: Tensor) -> Tensor:
        if self.resampling_blocks:
            return self.downsample[i](h, embedding)
        return self.downsample[i](h if self.pad_all_sides else F.pad(h, (0, 1, 0, 1)))

    def _check_size(self, x: Tensor) -> None:
        factor = 1 << len(self.downsample)
        if x.shape[-1] % factor or x.shape[-2] % factor:
            size = f"{x.shape[-2]}x{x.shape[-1]}"
            raise InputError(
                f"images of {size} do not halve {len(self.downsample)} times: sizes must be multiples of {factor}"
            )
