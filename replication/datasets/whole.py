"""Photographs kept whole: each in its own shape, its shorter side of one length, the bytes of one after the other's.

What trainings cut windows from that see an image in another place each time, as LDM's of ImageNet and its first stages do.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Whole:
    """N photographs in canonical order, and the SHA-256 of them all."""

    content: Tensor  # uint8 [bytes], of one photograph [3,h,w] after the other
    sizes: Tensor  # int64 [N,2]: h, w
    labels: Tensor  # int64 [N]
    fingerprint: str

    def windows(self, chosen: Tensor, places: Tensor, side: int) -> Tensor:
        """uint8 [B,3,side,side] of the photographs chosen, Int[B] on the CPU.

        places: Float[B,2] in [0, 1), how far down and to the right a window lies among all that fit.
        """
        corners = (places.double() * (self.sizes[chosen] - side + 1)).long()
        placed = zip(chosen.tolist(), corners.tolist(), strict=True)
        return torch.stack([self.image(i)[:, y : y + side, x : x + side] for i, (y, x) in placed])

    def image(self, i: int) -> Tensor:
        """Photograph i, uint8 [3,h,w]."""
        height, width = self.sizes[i].tolist()
        start = int(self._starts[i])
        return self.content[start : start + 3 * height * width].view(3, height, width)

    @cached_property
    def _starts(self) -> Tensor:
        lengths = 3 * self.sizes.prod(1)
        return lengths.cumsum(0) - lengths
