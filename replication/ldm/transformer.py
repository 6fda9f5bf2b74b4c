"""Transformers of latent diffusion: in the U-Net, where every position attends to the context, and of texts.

Rombach et al. 2022, equation 4 and appendix E.2.1. GroupNorm eps is 1e-6 in the spatial transformer, though 1e-5 in the
blocks around it; LayerNorm eps 1e-5.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.layers.conditioning import LabelEmbedding, TokenEncoder
from replication.layers.linear import Linear
from replication.layers.unet import GroupNorm, attend
from replication.types import InputError

EPS = 1e-6
SPREAD = 0.02  # of the initial embeddings of tokens and positions


class CrossAttention(nn.Module):
    """x [B,N,width], context [B,L,context] -> [B,N,width]: softmax(Q K^T / sqrt(d)) V in several heads (equation 4).

    Queries, keys and values have no bias, the projection out has one. head_channels: of each head; 0: the heads share the
    width. Raises InputError where they do not divide it.
    """

    def __init__(self, width: int, context: int, heads: int, head_channels: int = 0):
        super().__init__()
        inner = heads * head_channels or width
        if heads < 1 or inner % heads:
            raise InputError(f"attention of {width} channels can't be split into {heads} heads")
        self.heads = heads
        self.q = Linear(width, inner, bias=False)
        self.k = Linear(context, inner, bias=False)
        self.v = Linear(context, inner, bias=False)
        self.out = Linear(inner, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.out(attend(self.q(x), self.k(context), self.v(context), self.heads))


class FeedForward(nn.Module):
    """[B,N,width] -> [B,N,width] through 4*width gated channels: GEGLU (Shazeer 2020), value first, then gate."""

    def __init__(self, width: int):
        super().__init__()
        self.expand = Linear(width, 2 * 4 * width)
        self.contract = Linear(4 * width, width)

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
    """x [B,C,H,W], context [B,L,D] -> [B,C,H,W], a residual branch of `depth` transformer blocks over the positions."""

    def __init__(self, channels: int, context: int, heads: int, groups: int, depth: int):
        super().__init__()
        self.norm = GroupNorm(groups, channels, EPS)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.blocks = nn.ModuleList(TransformerBlock(channels, context, heads) for _ in range(depth))
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)  # [B,H*W,C]
        for block in self.blocks:
            h = block(h, context)
        return x + self.proj_out(h.transpose(1, 2).reshape(x.shape))


class ClassEmbedder(LabelEmbedding):
    """Label Int[B] -> a context of one token, Float[B,1,width]: LDM's ImageNet models (section 4.3.2)."""

    def __init__(self, classes: int, width: int, null: bool = True):
        super().__init__(classes, width, null)
        self.shape = (1, width)

    def forward(self, labels: Tensor) -> Tensor:
        return super().forward(labels)[:, None]


class TextBlock(nn.Module):
    """[B,L,width] -> [B,L,width]: self-attention, then a feed-forward of 4*width channels with GELU, both pre-norm."""

    def __init__(self, width: int, heads: int, head_channels: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = CrossAttention(width, width, heads, head_channels)
        self.norm2 = nn.LayerNorm(width)
        self.expand, self.contract = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.attention(h, h)
        return x + self.contract(F.gelu(self.expand(self.norm2(x))))


class TextTransformer(TokenEncoder):
    """Tokens Int[B,length] -> context Float[B,length,width]; trained together with the U-Net (section 4.3.1).

    Token and position embeddings, pre-norm blocks in which every token attends to all, a norm at the end. Padding, token
    0, is attended to like any other, as in the official code. head_channels: see CrossAttention.
    """

    beside = "bert"

    def __init__(self, vocabulary: int, length: int, width: int, layers: int, heads: int, head_channels: int = 0):
        super().__init__(vocabulary, length, length, width=width)
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.empty(length, width))
        self.blocks = nn.ModuleList(TextBlock(width, heads, head_channels) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.stated = {"encoder_attention_heads": heads, "activation_function": "gelu", "scale_embedding": False}
        for table in (self.token.weight, self.position):
            nn.init.normal_(table, std=SPREAD)

    def forward(self, tokens: Tensor) -> Tensor:
        self.check_length(tokens)
        h = self.token(tokens) + self.position
        for block in self.blocks:
            h = block(h)
        return self.norm(h)
