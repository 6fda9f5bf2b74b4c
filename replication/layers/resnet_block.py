"""The residual block of DDPM's U-Net, of ADM's and LDM's, and of LDM's autoencoders, which know no time."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

Resample = Callable[[Tensor], Tensor]


class ResnetBlock(nn.Module):
    """[B,c_in,H,W], embedding [B,E] -> [B,c_out,H,W]; the embedding is heard between the convolutions.

    embedding: its width E; 0 for a block that is told nothing. It is added before the second norm, or with scale_shift
    (ADM's, adaptive group normalisation) scales and shifts what comes out of it. resample: halves or doubles H and W of
    both branches, before the first convolution (ADM's).
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        embedding: int,
        dropout: float,
        groups: int,
        eps: float = 1e-6,
        scale_shift: bool = False,
        resample: Resample | None = None,
    ):
        super().__init__()
        self.scale_shift, self.resample = scale_shift, resample
        self.norm1 = nn.GroupNorm(groups, c_in, eps)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.embed = nn.Linear(embedding, c_out * (2 if scale_shift else 1)) if embedding else None
        self.norm2 = nn.GroupNorm(groups, c_out, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = F.silu(self.norm1(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self._told(self.conv1(h), embedding)
        h = self.conv2(self.dropout(F.silu(h)))
        return self.shortcut(x) + h

    def _told(self, h: Tensor, embedding: Tensor | None) -> Tensor:
        """The embedding and the second norm."""
        if self.embed is None or embedding is None:
            return self.norm2(h)
        said = self.embed(F.silu(embedding))[:, :, None, None]
        if not self.scale_shift:
            return self.norm2(h + said)
        scale, shift = said.chunk(2, dim=1)
        return self.norm2(h) * (1 + scale) + shift


def halved(x: Tensor) -> Tensor:
    """[B,C,H,W] -> [B,C,H/2,W/2], the mean of each four pixels."""
    return F.avg_pool2d(x, 2)


def doubled(x: Tensor) -> Tensor:
    """[B,C,H,W] -> [B,C,2H,2W], every pixel four times."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
