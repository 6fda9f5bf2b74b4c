"""The adaLN and adaLN-Zero blocks: Peebles and Xie 2023, section 3.2 and figure 3.

Both have their layer norms shifted and scaled by what the network is told. adaLN-Zero also gates each residual branch
and starts as the identity, because its modulation starts at 0.
"""

from torch import Tensor, nn

from replication.dit.attention import SelfAttention
from replication.dit.feed_forward import FeedForward
from replication.dit.modulation import Modulation, gated, modulate, plain_norm


class AdaLNBlock(nn.Module):
    """x [B,N,width], told [B,K,width] -> [B,N,width]; what is told enters as the sum of its K vectors."""

    modulated = 4  # shift and scale of two norms

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.modulation = Modulation(width, self.modulated)
        self.norm1, self.attention = plain_norm(width), SelfAttention(width, heads, qk_norm)
        self.norm2, self.mlp = plain_norm(width), FeedForward(width)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        shift1, scale1, shift2, scale2 = self.modulation(told.sum(dim=1))
        x = x + self.attention(modulate(self.norm1(x), shift1, scale1))
        return x + self.mlp(modulate(self.norm2(x), shift2, scale2))


class AdaLNZeroBlock(AdaLNBlock):
    """The same with a gate on each branch; `initialise` closes them."""

    modulated = 6

    def initialise(self) -> None:
        self.modulation.initialise_zero()

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(told.sum(dim=1))
        x = gated(x, gate1, self.attention(modulate(self.norm1(x), shift1, scale1)))
        return gated(x, gate2, self.mlp(modulate(self.norm2(x), shift2, scale2)))
