"""The U-Net of latent diffusion: Rombach et al. 2022, appendix E, with the conventions of the official code (ADM's).

cos before sin in the time embedding, divisor half; GroupNorm eps 1e-5; stride-2 convolutions padded by 1 on all sides;
attention in several heads, or a spatial transformer where there is a context. Zero at the start: the last convolution,
the second of every block, the way out of every attention; PyTorch's defaults elsewhere. Levels that attend are given as
downsampling factors, as in the published configurations, where they are called attention_resolutions.
"""

from collections.abc import Sequence

from torch import nn

from replication.layers import unet
from replication.layers.attention import Attention
from replication.layers.encoder import Encoder
from replication.layers.given_context import GivenContext
from replication.layers.resnet_block import ResnetBlock
from replication.ldm.class_embedder import ClassEmbedder
from replication.ldm.spatial_transformer import SpatialTransformer
from replication.ldm.text_transformer import TextTransformer
from replication.types import InputError

EPS = 1e-5


class UNet(unet.UNet):
    """`network(x [B,in,H,W], timestep [B], cond=None) -> [B,out,H,W]`; out is twice `in` with learned_variance.

    heads or head_channels: how many heads an attention has, or how many channels each head.
    classes: cond is a label Int[B], added to the time; `classes` itself says nothing.
    encoder: makes the context [B,L,D] of the spatial transformers, of `depth` blocks each; cond is what it reads.
    scale_shift, resampling_blocks: ADM's options, which the churches' network has (use_scale_shift_norm and
    resblock_updown in the official code), see ResnetBlock.
    Raises InputError where an option does not fit the others, and where cond does not fit the network.
    """

    version = 1

    def __init__(
        self,
        resolution: int,
        in_channels: int,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        heads: int = 0,
        head_channels: int = 0,
        groups: int = 32,
        dropout: float = 0.0,
        learned_variance: bool = False,
        classes: int = 0,
        encoder: ClassEmbedder | TextTransformer | GivenContext | None = None,
        depth: int = 1,
        scale_shift: bool = False,
        resampling_blocks: bool = False,
    ):
        if encoder and classes:
            raise InputError(f"a label is added to the time or the context says it, not both: classes = {classes}")
        factors = [1 << i for i in range(len(multipliers))]
        if odd := set(attention) - set(factors):
            raise InputError(f"attention is at downsampling factors of the levels, {factors}, not at {sorted(odd)}")
        if (heads > 0) == (head_channels > 0):
            raise InputError(f"either heads or head_channels says how attention is split, not {heads}, {head_channels}")

        def make(channels: int) -> nn.Module:
            n = heads or channels // head_channels
            if n == 0 or channels % n or (head_channels and channels != n * head_channels):
                raise InputError(f"attention of {channels} channels: heads = {heads}, head_channels = {head_channels}")
            if encoder is None:
                return Attention(channels, groups, EPS, n)
            return SpatialTransformer(channels, encoder.width, n, groups, depth)

        super().__init__(
            resolution,
            in_channels,
            width,
            tuple(multipliers),
            blocks,
            [factor in attention for factor in factors],
            make,
            eps=EPS,
            cos_first=True,
            pad_all_sides=True,
            scale_shift=scale_shift,
            resampling_blocks=resampling_blocks,
            dropout=dropout,
            groups=groups,
            learned_variance=learned_variance,
            classes=classes,
        )
        self.context_encoder = encoder
        self._initialise()

    def _initialise(self) -> None:
        ends: list[nn.Conv2d | nn.Linear] = [self.conv_out]
        ends += [m.conv2 for m in self.modules() if isinstance(m, ResnetBlock)]
        ends += [m.out for m in self.modules() if isinstance(m, Attention)]
        ends += [m.proj_out for m in self.modules() if isinstance(m, SpatialTransformer)]
        for end in ends:
            nn.init.zeros_(end.weight)
            if end.bias is not None:
                nn.init.zeros_(end.bias)

    @property
    def encoder(self) -> Encoder | None:
        return self.context_encoder or self.label
