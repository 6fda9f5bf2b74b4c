"""Distances between images: of pixels, perceptual ones' common part, and the perceptual distance that is none.

Zhang et al. 2018, equation 1: feature maps are normalised to unit length along their channels, the squared difference is
weighed per channel, averaged over positions and summed over layers. The published first stages use L1 and LPIPS.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from replication.registry import PERCEPTUAL

Pixel = Literal["l1", "l2"]

PIXEL: dict[Pixel, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": lambda a, b: (a - b).abs().flatten(1).mean(1),
    "l2": lambda a, b: (a - b).square().flatten(1).mean(1),
}
"""Name -> (images [B,C,H,W], images) -> [B], a mean over each image's values."""


class Perceptual(nn.Module, ABC):
    """`distance(a, b) -> [B]`, images [B,C,H,W] in [-1, 1]; gradients reach both, and no weight learns."""

    version = 1

    @abstractmethod
    def check(self, channels: int, resolution: int) -> None:
        """Raises InputError unless the distance takes images of this kind."""

    def ensure(self) -> None:
        """Raises InputError where the weights are not at hand, saying how to get them."""

    @abstractmethod
    def forward(self, a: Tensor, b: Tensor) -> Tensor: ...


def unit_difference(a: Tensor, b: Tensor) -> Tensor:
    """Squared difference of feature maps [B,C,h,w] whose vectors along C were brought to length 1."""
    # vector_norm has gradient 0 where every channel is 0, as after a ReLU; the root of a sum of squares has NaN
    first, second = (maps / (torch.linalg.vector_norm(maps, dim=1, keepdim=True) + 1e-10) for maps in (a, b))
    return (first - second).square()


class NoPerceptual(Perceptual):
    """0 for every image."""

    def check(self, channels: int, resolution: int) -> None:
        """Takes everything."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.zeros(len(a), device=a.device)


@PERCEPTUAL.register("none")
def none() -> NoPerceptual:
    """No perceptual distance, which is 0 for all images."""
    return NoPerceptual()
