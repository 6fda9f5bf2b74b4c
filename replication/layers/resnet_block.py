"""The residual block of DDPM's U-Net, of LDM's (but for eps) and of its autoencoders, which know no time."""

import torch.nn.functional as F
from torch import Tensor, nn


class ResnetBlock(nn.Module):
    """[B,c_in,H,W], embedding [B,E] -> [B,c_out,H,W]; the embedding is added between the convolutions.

    embedding: its width E; 0 for a block that is told nothing.
    """

    def __init__(self, c_in: int, c_out: int, embedding: int, dropout: float, groups: int, eps: float = 1e-6):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, c_in, eps)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.embed = nn.Linear(embedding, c_out) if embedding else None
        self.norm2 = nn.GroupNorm(groups, c_out, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.embed is not None and embedding is not None:
            h = h + self.embed(F.silu(embedding))[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return self.shortcut(x) + h
