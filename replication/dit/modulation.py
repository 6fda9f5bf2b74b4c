"""Adaptive layer norm: shift, scale and gate of a normalised sequence, told by a vector (Peebles and Xie 2023, sect. 3.2).

modulated(x) = LayerNorm(x) (1 + scale) + shift,   LayerNorm without weights of its own, eps 1e-6
"""

import torch
from torch import Tensor, nn

EPS = 1e-6


class Modulation(nn.Module):
    """[B,width] -> `parts` of [B,1,width]: SiLU, then one layer."""

    def __init__(self, width: int, parts: int):
        super().__init__()
        self.parts = parts
        self.activation, self.project = nn.SiLU(), nn.Linear(width, parts * width)

    def initialise_zero(self) -> None:
        """Whatever it is told, it says 0: no shift, scale 1, and closed gates."""
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, vector: Tensor) -> tuple[Tensor, ...]:
        return self.project(self.activation(vector))[:, None].chunk(self.parts, dim=2)


def plain_norm(width: int) -> nn.LayerNorm:
    """The layer norm that a modulation follows."""
    return nn.LayerNorm(width, eps=EPS, elementwise_affine=False)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift for x [B,N,width] and [B,1,width] each, in one pass over x."""
    return torch.addcmul(shift, x, 1 + scale)


def gated(x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
    """x + gate branch, in one pass."""
    return torch.addcmul(x, gate, branch)
