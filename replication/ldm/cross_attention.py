"""Attention between two sequences of tokens (Rombach et al. 2022, eq. 4): softmax(Q K^T / sqrt(d)) V, in several heads.

Queries, keys and values have no bias, the projection out has one. Its own tokens as the context make it self-attention.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from replication.types import InputError


class CrossAttention(nn.Module):
    """x [B,N,width], context [B,L,context] -> [B,N,width]; the heads share the width, width / heads channels each.

    Raises InputError where that is no whole number.
    """

    def __init__(self, width: int, context: int, heads: int):
        super().__init__()
        if heads < 1 or width % heads:
            raise InputError(f"attention of {width} channels can't be split into {heads} heads")
        self.heads = heads
        self.q = nn.Linear(width, width, bias=False)
        self.k = nn.Linear(context, width, bias=False)
        self.v = nn.Linear(context, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (
            layer(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, tokens in ((self.q, x), (self.k, context), (self.v, context))
        )
        h = F.scaled_dot_product_attention(q, k, v)  # [B,heads,N,width/heads]
        return self.out(h.transpose(1, 2).flatten(2))
