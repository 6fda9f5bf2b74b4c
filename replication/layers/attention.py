"""Self-attention over the positions of a feature map: DDPM's and the autoencoders' with one head, LDM's with several."""

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """[B,C,H,W] -> [B,C,H,W], a residual branch over the H*W positions."""

    def __init__(self, channels: int, groups: int, eps: float = 1e-6, heads: int = 1):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels, eps)
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x).flatten(2).transpose(1, 2)  # [B,H*W,C]
        q, k, v = (layer(h).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v)  # [B,heads,H*W,C/heads]
        return x + self.out(h.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(x.shape)
