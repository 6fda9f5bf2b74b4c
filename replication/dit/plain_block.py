"""The block of a vision transformer, for in-context conditioning: Peebles and Xie 2023, section 3.2.

What the network is told is part of the sequence, so the block itself is told nothing; the model appends and removes it.
"""

from torch import Tensor, nn

from replication.dit.attention import SelfAttention
from replication.dit.feed_forward import FeedForward
from replication.dit.modulation import EPS


class PlainBlock(nn.Module):
    """x [B,N,width] -> [B,N,width]."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, EPS), SelfAttention(width, heads, qk_norm)
        self.norm2, self.mlp = nn.LayerNorm(width, EPS), FeedForward(width)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))
