"""A network of a class of its own: three convolutions."""

import torch
from torch import Tensor, nn

from replication.registry import MODELS


@MODELS.register("foreign-convolutions")
class Convolutions(nn.Module):
    """Three convolutions and the timestep between them, for tests (2026)."""

    version = 1

    def __init__(self, width: int = 8, resolution: int = 8, channels: int = 1):
        super().__init__()
        self.resolution, self.in_channels = resolution, channels
        self.first, self.middle = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        h = torch.tanh(self.first(x) + torch.cos(timestep / 200)[:, None, None, None])
        return self.last(torch.tanh(self.middle(h)))
