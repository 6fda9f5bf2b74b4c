"""Attention between sequences: of the patches among themselves, and of the patches to what the network is told."""

import torch.nn.functional as F
from torch import Tensor, nn

from replication.dit.qk_norm import QKNorm
from replication.types import InputError


def split_heads(x: Tensor, heads: int, parts: int) -> tuple[Tensor, ...]:
    """[B,N,parts*width] -> `parts` of [B,heads,N,width/heads]."""
    return x.unflatten(2, (parts, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k / sqrt(width/heads)) v by the fused kernel: [B,heads,N,width/heads] each -> [B,N,width]."""
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def make_qk_norm(width: int, heads: int, wanted: bool) -> QKNorm | None:
    """The norm of queries and keys, where wanted; raises InputError if the heads do not divide the width."""
    if heads < 1 or width % heads:
        raise InputError(f"width = {width} is not a multiple of heads = {heads}")
    return QKNorm(width // heads) if wanted else None


class SelfAttention(nn.Module):
    """[B,N,width] -> [B,N,width]; queries, keys and values come from one matrix, as Xavier's law for them assumes."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.heads, self.qk_norm = heads, make_qk_norm(width, heads, qk_norm)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = split_heads(self.qkv(x), self.heads, 3)
        if self.qk_norm is not None:
            q, k = self.qk_norm(q, k)
        answer: Tensor = self.out(attend(q, k, v))
        return answer


class CrossAttention(nn.Module):
    """x [B,N,width], context [B,K,width] -> [B,N,width]: queries from x, keys and values from the context."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.heads, self.qk_norm = heads, make_qk_norm(width, heads, qk_norm)
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        (q,), (k, v) = split_heads(self.q(x), self.heads, 1), split_heads(self.kv(context), self.heads, 2)
        if self.qk_norm is not None:
            q, k = self.qk_norm(q, k)
        answer: Tensor = self.out(attend(q, k, v))
        return answer
