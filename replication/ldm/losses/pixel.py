"""Distances between pixels; the published first stages use L1."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

Pixel = Literal["l1", "l2"]

PIXEL: dict[Pixel, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": lambda a, b: (a - b).abs().flatten(1).mean(1),
    "l2": lambda a, b: (a - b).square().flatten(1).mean(1),
}
"""Name -> (images [B,C,H,W], images) -> [B], a mean over each image's values."""
