"""A perceptual distance for small photographs, by an ImageNet classifier that has seen none of them.

The recipe of Zhang et al. 2018 without learned weights, on the first layers of EfficientNet-lite0. The network that judges
samples of CIFAR-10, cifar10-resnet, has no part in it: neither weights nor training images.
"""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from replication.ldm.losses.distances import Perceptual, unit_difference
from replication.registry import EXTRACTORS, PERCEPTUAL
from replication.types import InputError

TAPS = (0, 1, 3, 5)  # the stem and the last block at each of three resolutions: 32, 16, 24 and 40 channels
ENLARGED = 2  # photographs of 32 pixels have the details that the first layers know at twice the size


@PERCEPTUAL.register("features-efficientnet-lite0")
class EfficientNetFeatures(Perceptual):
    """Distance in four layers of EfficientNet-lite0 (the recipe of Zhang et al. 2018), colour images (extra `imagenet`)."""

    def __init__(self) -> None:
        super().__init__()
        self._extractor: Any = EXTRACTORS.build("efficientnet-lite0")

    def ensure(self) -> None:
        self._extractor.ensure()

    def check(self, channels: int, resolution: int) -> None:
        if channels != 3:
            raise InputError(
                f"perceptual distance 'features-efficientnet-lite0' takes colour images, not {channels} channels "
                "(valid for any: none)"
            )

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        x = F.interpolate(torch.cat([a, b]), scale_factor=ENLARGED, mode="bilinear", align_corners=False)
        maps = self._network(x.device).maps(x, TAPS[-1])
        pairs = [maps[tap].chunk(2) for tap in TAPS]
        return sum(unit_difference(*pair).sum(1).mean((1, 2)) for pair in pairs)  # type: ignore[return-value]

    def _network(self, device: torch.device) -> Any:
        """Read at first use, and no part of this module: what is planned needs no weights, and no snapshot keeps them."""
        network = self._loaded
        return network if network._fc.weight.device == device else network.to(device)

    @cached_property
    def _loaded(self) -> Any:
        return self._extractor.network
