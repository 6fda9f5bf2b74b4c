"""The transformer blocks of DiT: Peebles and Xie 2023, section 3.2 and figure 3, and what they are made of.

Every block takes the patches x [B,N,width] and the embeddings of the condition, cond [B,K,width] (the time's and the
label's). adaLN-Zero and adaLN shift and scale their layer norms by a function of the sum of those K vectors; adaLN-Zero
also gates each residual branch and starts as the identity. Cross-attention attends to the K vectors. In context they are
part of the sequence, which the model appends and removes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.layers.linear import Linear, by_onednn
from replication.types import InputError

EPS = 1e-6  # of every layer norm
EXPANSION = 4  # of the width, between the two layers of a block's MLP


class QKNorm(nn.Module):
    """(q, k), each [B,heads,N,width/heads] -> the same shapes, of unit size, so that no logit can grow without bound.

    Dehghani et al. 2023 (ViT-22B, arXiv:2302.05442), with RMSNorm per head as Stable Diffusion 3 does (Esser et al. 2024,
    section 5.3.2): q / sqrt(mean q^2 + eps), times a learned scale per channel of a head, 1 at the start.
    """

    def __init__(self, head_width: int):
        super().__init__()
        self.q, self.k = nn.RMSNorm(head_width, eps=1e-6), nn.RMSNorm(head_width, eps=1e-6)

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return self.q(q), self.k(k)


def split_heads(x: Tensor, heads: int, parts: int) -> tuple[Tensor, ...]:
    """[B,N,parts*width] -> `parts` of [B,heads,N,width/heads]."""
    return x.unflatten(2, (parts, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k / sqrt(width/heads)) v by the fused kernel: [B,heads,N,width/heads] each -> [B,N,width]."""
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """The base of attention in heads, with QKNorm where wanted; raises InputError if the heads do not divide the width."""

    def __init__(self, width: int, heads: int, qk_norm: bool):
        super().__init__()
        if heads < 1 or width % heads:
            raise InputError(f"width = {width} is not a multiple of heads = {heads}")
        self.heads, self.qk_norm = heads, QKNorm(width // heads) if qk_norm else None

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B,N,3*width] -> each [B,heads,N,width/heads], normed."""
        q, k, v = split_heads(x, self.heads, 3)
        return (*self.normed(q, k), v)

    def normed(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return (q, k) if self.qk_norm is None else self.qk_norm(q, k)


class SelfAttention(Attention):
    """[B,N,width] -> [B,N,width]; queries, keys and values come from one matrix, as Xavier's law for them assumes."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__(width, heads, qk_norm)
        self.qkv, self.out = Linear(width, 3 * width), Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(attend(*self.split(self.qkv(x))))


class CrossAttention(Attention):
    """x [B,N,width], context [B,K,width] -> [B,N,width]: queries from x, keys and values from the context."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__(width, heads, qk_norm)
        self.q, self.kv, self.out = Linear(width, width), Linear(width, 2 * width), Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        (q,), (k, v) = split_heads(self.q(x), self.heads, 1), split_heads(self.kv(context), self.heads, 2)
        return self.out(attend(*self.normed(q, k), v))


class FeedForward(nn.Sequential):
    """[B,N,width] -> [B,N,width]: two layers per position with GELU, in its form by tanh, between them."""

    def __init__(self, width: int):
        hidden = EXPANSION * width
        super().__init__(Linear(width, hidden), nn.GELU(approximate="tanh"), Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        if not by_onednn(x):
            plain: Tensor = super().forward(x)
            return plain
        expand, _, contract = self
        assert isinstance(expand, Linear)
        return contract(expand.activated(x))


class Modulation(nn.Module):
    """[B,width] -> `parts` of [B,1,width], the shifts, scales and gates of adaptive layer norms: SiLU, then one layer.

    With `zero` they all start at 0: no shift, scale 1, closed gates.
    """

    def __init__(self, width: int, parts: int, zero: bool = True):
        super().__init__()
        self.parts, self.zero = parts, zero
        self.activation, self.project = nn.SiLU(), Linear(width, parts * width)

    def initialise(self) -> None:
        if self.zero:
            nn.init.zeros_(self.project.weight)
            nn.init.zeros_(self.project.bias)

    def forward(self, vector: Tensor) -> tuple[Tensor, ...]:
        return self.project(self.activation(vector))[:, None].chunk(self.parts, dim=2)


def plain_norm(width: int) -> nn.LayerNorm:
    """The layer norm, without weights of its own, that a modulation follows."""
    return nn.LayerNorm(width, eps=EPS, elementwise_affine=False)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift for x [B,N,width] and [B,1,width] each, in one pass over x."""
    return torch.addcmul(shift, x, 1 + scale)


def gated(x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
    """x + gate branch, in one pass."""
    return torch.addcmul(x, gate, branch)


class AdaLNBlock(nn.Module):
    """Adaptive layer norm: shift and scale from the sum of the embeddings."""

    modulated, zero = 4, False  # shift and scale of two norms

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.modulation = Modulation(width, self.modulated, self.zero)
        self.norm1, self.attention = plain_norm(width), SelfAttention(width, heads, qk_norm)
        self.norm2, self.mlp = plain_norm(width), FeedForward(width)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        shift1, scale1, shift2, scale2 = self.modulation(cond.sum(dim=1))
        x = x + self.attention(modulate(self.norm1(x), shift1, scale1))
        return x + self.mlp(modulate(self.norm2(x), shift2, scale2))


class AdaLNZeroBlock(AdaLNBlock):
    """The same with a gate on each branch, closed at the start."""

    modulated, zero = 6, True

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(cond.sum(dim=1))
        x = gated(x, gate1, self.attention(modulate(self.norm1(x), shift1, scale1)))
        return gated(x, gate2, self.mlp(modulate(self.norm2(x), shift2, scale2)))


class CrossAttentionBlock(nn.Module):
    """Self-attention, attention to the embeddings, MLP."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, EPS), SelfAttention(width, heads, qk_norm)
        self.norm2, self.cross = nn.LayerNorm(width, EPS), CrossAttention(width, heads, qk_norm)
        self.norm3, self.mlp = nn.LayerNorm(width, EPS), FeedForward(width)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        x = x + self.cross(self.norm2(x), cond)
        return x + self.mlp(self.norm3(x))


class InContextBlock(nn.Module):
    """The block of a vision transformer; cond is in the sequence already, and not used here."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, EPS), SelfAttention(width, heads, qk_norm)
        self.norm2, self.mlp = nn.LayerNorm(width, EPS), FeedForward(width)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


BLOCKS: dict[str, type[nn.Module]] = {
    "adaln-zero": AdaLNZeroBlock,
    "adaln": AdaLNBlock,
    "cross-attention": CrossAttentionBlock,
    "in-context": InContextBlock,
}
