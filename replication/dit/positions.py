"""Where a patch sits, said by fixed sines and cosines in two dimensions: Peebles and Xie 2023, section 3.2.

The first half of the channels tells the column, the second the row; each half is sines, then cosines, of the index at
frequencies 10000^(-i / (width/4)). Nothing here is learned.
"""

import torch
from torch import Tensor


def sincos_positions(side: int, width: int) -> Tensor:
    """Float[side*side, width] for the patches of a square, row by row; width is a multiple of 4."""
    index = torch.arange(side, dtype=torch.float64)
    frequencies = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = index[:, None] * frequencies
    along = torch.cat([angles.sin(), angles.cos()], dim=1)  # [side, width/2]
    column, row = along.expand(side, side, -1), along[:, None].expand(side, side, -1)
    return torch.cat([column, row], dim=2).flatten(0, 1).float()
