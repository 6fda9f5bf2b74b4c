"""The transformer that LDM puts where a U-Net attends, so that every position hears the context: appendix E.2.1.

GroupNorm and 1x1 convolution in, transformer blocks over the H*W positions, 1x1 convolution out, added to the input.
GroupNorm eps is 1e-6 here, though 1e-5 in the blocks around; LayerNorm eps 1e-5.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from replication.ldm.cross_attention import CrossAttention

EPS = 1e-6


class FeedForward(nn.Module):
    """[B,N,width] -> [B,N,width] through 4*width gated channels: GEGLU (Shazeer 2020), value first, then gate."""

    def __init__(self, width: int):
        super().__init__()
        self.expand = nn.Linear(width, 2 * 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.expand(x).chunk(2, dim=-1)
        return self.contract(value * F.gelu(gate))


class TransformerBlock(nn.Module):
    """x [B,N,width], context [B,L,context] -> [B,N,width]: self-attention, cross-attention, feed-forward, all pre-norm."""

    def __init__(self, width: int, context: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.self_attention = CrossAttention(width, width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.cross_attention = CrossAttention(width, context, heads)
        self.norm3 = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.self_attention(h, h)
        x = x + self.cross_attention(self.norm2(x), context)
        return x + self.feed_forward(self.norm3(x))


class SpatialTransformer(nn.Module):
    """x [B,C,H,W], context [B,L,D] -> [B,C,H,W], a residual branch; depth: how many transformer blocks."""

    def __init__(self, channels: int, context: int, heads: int, groups: int, depth: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, EPS)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.blocks = nn.ModuleList(TransformerBlock(channels, context, heads) for _ in range(depth))
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)  # [B,H*W,C]
        for block in self.blocks:
            h = block(h, context)
        return x + self.proj_out(h.transpose(1, 2).reshape(x.shape))
