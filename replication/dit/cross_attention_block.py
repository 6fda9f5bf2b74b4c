"""The cross-attention block: Peebles and Xie 2023, section 3.2. What the network is told is attended to, not mixed in."""

from torch import Tensor, nn

from replication.dit.attention import CrossAttention, SelfAttention
from replication.dit.feed_forward import FeedForward
from replication.dit.modulation import EPS


class CrossAttentionBlock(nn.Module):
    """x [B,N,width], told [B,K,width] -> [B,N,width]: self-attention, attention to the K vectors, two layers."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, EPS), SelfAttention(width, heads, qk_norm)
        self.norm2, self.cross = nn.LayerNorm(width, EPS), CrossAttention(width, heads, qk_norm)
        self.norm3, self.mlp = nn.LayerNorm(width, EPS), FeedForward(width)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        x = x + self.cross(self.norm2(x), told)
        return x + self.mlp(self.norm3(x))
