"""The U-Net of DDPM and LDM: Ho et al. 2020, appendix B; Dhariwal and Nichol 2021 (ADM); Rombach et al. 2022.

Residual blocks with skips from the way down to the way up, an attention after each block where a level attends, and
always one in the middle. The papers' conventions are arguments without a default: ddpm/unet.py and ldm/unet.py set them,
and the initial weights. The blocks without a time embedding are those of LDM's autoencoders too.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.layers.conditioning import (
    AddedVector,
    Conditional,
    Encoder,
    LabelEmbedding,
    parted,
    timestep_embedding,
)
from replication.layers.convolution import Convolution
from replication.types import InputError

Resample = Callable[[Tensor], Tensor]
MakeBlock = Callable[[int, int], nn.Module]
MakeAttention = Callable[[int], nn.Module]
MakeAttentionOf = Callable[[int, int], nn.Module]


def halved(x: Tensor) -> Tensor:
    """[B,C,H,W] -> [B,C,H/2,W/2], the mean of each four pixels."""
    return F.avg_pool2d(x, 2)


def doubled(x: Tensor) -> Tensor:
    """[B,C,H,W] -> [B,C,2H,2W], every pixel four times."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


VECTOR = 8  # channels of a group from which on PyTorch takes several at a time on the CPU


class GroupNorm(nn.GroupNorm):
    """PyTorch's own; in code compiled for CUDA, and on a single thread of the CPU, by other means where that is slow."""

    def forward(self, x: Tensor) -> Tensor:
        means: Callable[..., Tensor] | None = None
        if x.device.type == "cpu":
            means = of_few_channels if self._is_slow(x) else None
        elif torch.compiler.is_compiling():
            means = by_channels
        return means(x, self.num_groups, self.weight, self.bias, self.eps) if means else super().forward(x)

    def _is_slow(self, x: Tensor) -> bool:
        if torch.compiler.is_compiling() or torch.is_grad_enabled() or torch.get_num_threads() > 1:
            return False
        few = self.num_channels < VECTOR * self.num_groups and x.dtype == torch.float32
        return few and x.is_contiguous(memory_format=torch.channels_last)


def of_few_channels(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Group norm of Float32[B,C,H,W] whose channels lie next to each other in memory.

    A variance is, as PyTorch takes it there, the mean square less the square of the mean. PyTorch's kernel goes through groups
    of fewer than VECTOR channels number by number; on one thread these operations take half its time.
    """
    height, width = x.shape[2:]
    y = x.permute(0, 2, 3, 1).flatten(1, 2)  # [B,H*W,C]
    squares = y * y
    sums = (a.sum(1).unflatten(1, (groups, -1)) for a in (y, squares))  # [B,G,C/G]
    mean, square = (a.mean(2, keepdim=True) / (height * width) for a in sums)
    scale = ((square - mean.square()).clamp(min=0) + eps).rsqrt() * weight.unflatten(0, (groups, -1))
    shift = bias.unflatten(0, (groups, -1)) - mean * scale
    # into memory that is in the processor's cache just now
    normed = torch.addcmul(shift.flatten(1)[:, None], y, scale.flatten(1)[:, None], out=squares)
    return normed.unflatten(1, (height, width)).permute(0, 3, 1, 2)


def by_channels(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Group norm of [B,C,H,W], Float32[B,C,H,W], in two steps: a channel's mean and variance, then those of its group.

    With the channels next to each other in memory, and few of them in a group, compiled code would read the whole eight
    times over to take a group's own; here it reads them side by side.
    """
    x = x.float()
    variance, mean = (a.unflatten(1, (groups, -1)) for a in torch.var_mean(x, dim=(2, 3), correction=0))  # [B,G,C/G]
    centre = mean.mean(2, keepdim=True)
    spread = (variance + (mean - centre).square()).mean(2, keepdim=True)
    scale = (spread + eps).rsqrt().expand_as(mean).flatten(1) * weight
    shift = bias - centre.expand_as(mean).flatten(1) * scale
    return torch.addcmul(shift[:, :, None, None], x, scale[:, :, None, None])


def activated(x: Tensor) -> Tensor:
    """SiLU of what nothing else needs: in its place where nothing is trained."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def added(h: Tensor, x: Tensor) -> Tensor:
    """h + x of an h that nothing else needs, which x has or is broadcast to the shape of: in its place likewise."""
    return h.add_(x) if h.dtype == x.dtype and not torch.is_grad_enabled() else h + x


class ResnetBlock(nn.Module):
    """[B,c_in,H,W], embedding [B,E] -> [B,c_out,H,W]; the embedding enters between the convolutions.

    embedding: its width E; 0 for a block without one. It is added before the second norm, or with scale_shift (ADM's,
    adaptive group normalisation) scales and shifts the output of that norm. resample: halves or doubles H and W of both
    branches, before the first convolution (ADM's).
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        embedding: int,
        dropout: float,
        groups: int,
        eps: float = 1e-6,
        scale_shift: bool = False,
        resample: Resample | None = None,
    ):
        super().__init__()
        self.scale_shift, self.resample = scale_shift, resample
        self.norm1 = GroupNorm(groups, c_in, eps)
        self.conv1 = Convolution(c_in, c_out)
        self.embed = nn.Linear(embedding, c_out * (2 if scale_shift else 1)) if embedding else None
        self.norm2 = GroupNorm(groups, c_out, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = Convolution(c_out, c_out)
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = activated(self.norm1(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self._second_norm(self.conv1(h), embedding)
        h = self.conv2(self.dropout(activated(h)))
        return added(h, self.shortcut(x))

    def _second_norm(self, h: Tensor, embedding: Tensor | None) -> Tensor:
        if self.embed is None or embedding is None:
            return self.norm2(h)
        projected = self.embed(F.silu(embedding))[:, :, None, None]
        if not self.scale_shift:
            return self.norm2(added(h, projected))
        scale, shift = projected.chunk(2, dim=1)
        return self.norm2(h) * (1 + scale) + shift


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """softmax(Q K^T / sqrt(width/heads)) V by the fused kernel: q [B,N,width], k and v [B,L,width] -> [B,N,width]."""
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """[B,C,H,W] -> [B,C,H,W], self-attention over the H*W positions as a residual branch.

    One head in DDPM and in the autoencoders, several in LDM.
    """

    def __init__(self, channels: int, groups: int, eps: float = 1e-6, heads: int = 1):
        super().__init__()
        self.heads = heads
        self.norm = GroupNorm(groups, channels, eps)
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x).flatten(2).transpose(1, 2)  # [B,H*W,C]
        h = self.out(attend(self.q(h), self.k(h), self.v(h), self.heads))
        return x + h.transpose(1, 2).reshape(x.shape)


class Level(nn.Module):
    """The blocks at one resolution, an attention after each where it applies; widths: (c_in, c_out) of each block."""

    def __init__(self, widths: list[tuple[int, int]], block: MakeBlock, attention: MakeAttention | None):
        super().__init__()
        self.attends = attention is not None
        self.blocks = nn.ModuleList(block(a, b) for a, b in widths)
        self.attentions = nn.ModuleList(attention(b) if attention else nn.Identity() for _, b in widths)

    def __len__(self) -> int:
        return len(self.blocks)

    def step(self, i: int, x: Tensor, embedding: Tensor | None = None, *context: Tensor) -> Tensor:
        """Block i and its attention."""
        h = self.blocks[i](x, embedding)
        return self.attentions[i](h, *context) if self.attends else h

    def forward(self, x: Tensor) -> Tensor:
        """All of them, without an embedding: [B,c_in,H,W] -> [B,c_out,H,W]."""
        for i in range(len(self)):
            x = self.step(i, x)
        return x


class DownPath(Conditional):
    """The half of a U-Net that goes down, and its middle: the whole of what UNet and a classifier of noisy images share.

    attends: for each level whether it attends; attention: makes one of so many channels for a level, the middle's for the
    last one, which is called with the features and, in a network with a context, with the context [B,L,D]. eps: of the
    GroupNorms. cos_first, and time_width, the number of sinusoids (0: width): see timestep_embedding. pad_all_sides: the
    stride-2 convolutions are padded by 1 all around, or else right and below. scale_shift: how the embedding enters the
    blocks, see ResnetBlock. resampling_blocks: such blocks halve the images, in the place of convolutions.
    timestep_scale: by which the timestep is multiplied first. classes: of labels Int[B] whose embedding is added to the
    time's.
    """

    version = 1
    heads_outermost = (
        True  # of official weights: queries, keys and values are packed head after head, or one after the other
    )

    def __init__(
        self,
        resolution: int,
        in_channels: int,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        attends: Sequence[bool],
        attention: MakeAttentionOf,
        *,
        eps: float,
        cos_first: bool,
        pad_all_sides: bool,
        dropout: float,
        groups: int,
        scale_shift: bool = False,
        resampling_blocks: bool = False,
        timestep_scale: float = 1.0,
        time_width: int = 0,
        classes: int = 0,
    ):
        super().__init__()
        self.timestep_scale = timestep_scale
        self.resolution, self.in_channels, self.multipliers, self.blocks = resolution, in_channels, multipliers, blocks
        self.attends, self.groups, self.width, self.time_width = list(attends), groups, width, time_width or width
        self.cos_first, self.pad_all_sides = cos_first, pad_all_sides
        self.scale_shift, self.resampling_blocks = scale_shift, resampling_blocks
        embedding = 4 * self.time_width
        self.embed = nn.Sequential(nn.Linear(self.time_width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label = LabelEmbedding(classes, embedding) if classes else None
        self.conv_in = nn.Conv2d(in_channels, width, 3, padding=1)
        self._of_block, self._attention = (embedding, dropout, groups, eps, scale_shift), attention
        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        c = width
        for i, multiplier in enumerate(multipliers):
            widths = [(c if j == 0 else width * multiplier, width * multiplier) for j in range(blocks)]
            self.down.append(self._level(i, widths))
            c = width * multiplier
            if i < len(multipliers) - 1:
                convolution = nn.Conv2d(c, c, 3, stride=2, padding=1 if pad_all_sides else 0)
                self.downsample.append(self._block(c, c, halved) if resampling_blocks else convolution)

        self.middle1 = self._block(c, c)
        self.middle_attention = attention(len(multipliers) - 1, c)
        self.middle2 = self._block(c, c)

    def _block(self, a: int, b: int, resample: Resample | None = None) -> ResnetBlock:
        return ResnetBlock(a, b, *self._of_block, resample)

    def _level(self, i: int, widths: list[tuple[int, int]]) -> Level:
        return Level(widths, self._block, partial(self._attention, i) if self.attends[i] else None)

    def time_embedding(self, timestep: Tensor) -> Tensor:
        """Float[B] -> Float[B,4*time_width]."""
        if self.timestep_scale != 1:
            timestep = timestep * self.timestep_scale
        return self.embed(timestep_embedding(timestep, self.time_width, self.cos_first))

    def down_to_the_middle(self, x: Tensor, embedding: Tensor, *context: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(features after the middle, what the way up reads besides); raises InputError for sizes that do not halve."""
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
        return self.middle2(self.middle_attention(self.middle1(h, embedding), *context), embedding), skips

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


class UNet(DownPath):
    """`network(x [B,in,H,W], timestep [B], cond=None) -> [B,out,H,W]`; out is twice `in` with learned_variance.

    options: those of DownPath; resampling_blocks double the images too. With `classes`, cond is a label, and `classes` itself
    the null label. encoder: makes the context of cond instead, and `added` an embedding of the vector that is joined to it,
    which is added to the time's too. With neither, cond is not looked at.
    Raises InputError where cond or the image size does not fit.
    """

    def __init__(
        self,
        *sizes: Any,
        learned_variance: bool,
        encoder: Encoder | None = None,
        added: AddedVector | None = None,
        **options: Any,
    ):
        super().__init__(*sizes, **options)
        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        channels = [self.width * multiplier for multiplier in self.multipliers]
        # of what every block reads besides: conv_in's, and each level's with that of its downsampling
        skips = [self.width, *(c for c in channels for _ in range(self.blocks + 1))]
        skips.pop()  # the last level does not halve
        c = channels[-1]
        for i in reversed(range(len(channels))):
            widths = []
            for _ in range(self.blocks + 1):
                widths.append((c + skips.pop(), channels[i]))
                c = channels[i]
            self.up.append(self._level(i, widths))
            if i > 0:
                doubling = self._block(c, c, doubled) if self.resampling_blocks else Convolution(c, c)
                self.upsample.append(doubling)

        self.norm_out = GroupNorm(self.groups, c, self.middle1.norm1.eps)
        self.conv_out = nn.Conv2d(c, self.in_channels * (2 if learned_variance else 1), 3, padding=1)
        self.context_encoder, self.added = encoder, added

    @property
    def encoder(self) -> Encoder | None:
        return self.context_encoder or self.label

    @property
    def ends(self) -> list[nn.Conv2d | nn.Linear]:
        """The last layer, and those at the end of a residual branch: where the papers start from nothing, or nearly."""
        blocks = [m.conv2 for m in self.modules() if isinstance(m, ResnetBlock)]
        return [self.conv_out, *blocks, *(m.out for m in self.modules() if isinstance(m, Attention))]

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        embedding, condition = self.time_embedding(timestep), self.embedded(cond)
        if condition is not None and self.added is not None:
            condition, vector = parted(condition)
            embedding = embedding + self.added(vector)
        context = () if condition is None or condition.ndim == 2 else (condition,)  # [B,L,D]
        if condition is not None and not context:
            embedding = embedding + condition
        h, skips = self.down_to_the_middle(x, embedding, *context)
        for i, level in enumerate(cast(Iterable[Level], self.up)):
            for j in range(len(level)):
                h = level.step(j, torch.cat([h, skips.pop()], dim=1), embedding, *context)
            if i < len(self.upsample):
                h = self.upsample[i](h, embedding) if self.resampling_blocks else self.upsample[i](doubled(h))
        return self.conv_out(activated(self.norm_out(h)))
