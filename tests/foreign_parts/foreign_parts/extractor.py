"""Features without a trained network: means of the image over a grid of 4x4, and of their squares."""

import hashlib

import torch
from torch import Tensor, nn

from replication.metrics.extractor import Extractor
from replication.registry import EXTRACTORS


class Network(nn.Module):
    """uint8 [B,C,H,W] -> (values [B,32C],)."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pooled = nn.functional.adaptive_avg_pool2d(images.float() / 255, 4).flatten(1)
        return (torch.cat([pooled, pooled.square()], dim=1),)


@EXTRACTORS.register("foreign-grid")
class Grid(Extractor):
    """Means over a grid of 4x4 and their squares, no weights, for tests (2026)."""

    name, family, layers = "foreign-grid", "grid", ("values",)
    sha256 = hashlib.sha256(b"no weights").hexdigest()

    def _load(self) -> nn.Module:
        return Network()
