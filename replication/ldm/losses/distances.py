"""Distances between images: of pixels, and perceptual ones of feature maps; lpips.py has that of the published first stages.

Zhang et al. 2018, equation 1: feature maps are normalised to unit length along their channels, the squared difference is
weighed per channel, averaged over positions and summed over layers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from replication.pixels import to_levels
from replication.registry import EXTRACTORS, PERCEPTUAL
from replication.types import InputError

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


@PERCEPTUAL.register("none")
class NoPerceptual(Perceptual):
    """No perceptual distance, which is 0 for all images."""

    def __init__(self) -> None:
        super().__init__()

    def check(self, channels: int, resolution: int) -> None:
        """Takes everything."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.zeros(len(a), device=a.device)


class EmbeddedFeatures(Perceptual):
    """LPIPS without learned weights, on the outputs of named modules of an extractor's classifier; every channel counts 1.

    For datasets that LPIPS was not made for. The classifiers are part of this package, and a first stage trained with one
    is judged by FD on another layer of the same network.
    """

    def __init__(self, extractor: str, modules: tuple[str, ...]):
        super().__init__()
        built: Any = EXTRACTORS.build(extractor)
        self.extractor, self.shape, self.maps = extractor, built.shape, list[Tensor]()
        self.network: nn.Module = built.network
        for name in modules:
            self.network.get_submodule(name).register_forward_hook(self._keep)

    def check(self, channels: int, resolution: int) -> None:
        if (channels, resolution, resolution) != self.shape:
            c, h, w = self.shape
            raise InputError(
                f"perceptual distance 'features-{self.extractor}' takes images of {h}x{w} pixels and {c} channels, not "
                f"{resolution}x{resolution} and {channels} (valid for any: none)"
            )

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        pairs = zip(self._features(a), self._features(b), strict=True)
        return sum(unit_difference(*pair).sum(1).mean((1, 2)) for pair in pairs)  # type: ignore[return-value]

    def _features(self, x: Tensor) -> list[Tensor]:
        self.maps.clear()
        self.network(to_levels(x))  # the classifiers take 0..255
        return list(self.maps)

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.maps.append(output)

    def train(self, mode: bool = True) -> "EmbeddedFeatures":
        """Stays in evaluation mode: its norms' statistics are those of the classifier's training."""
        return super().train(False)


@PERCEPTUAL.register("features-digits-cnn")
def features_digits_cnn() -> EmbeddedFeatures:
    """Distance in three layers of digits-cnn, 8x8 grey (the recipe of Zhang et al. 2018)."""
    return EmbeddedFeatures("digits-cnn", ("norms.0", "norms.1", "norms.2"))


@PERCEPTUAL.register("features-cifar10-resnet")
def features_cifar10_resnet() -> EmbeddedFeatures:
    """Distance in four layers of cifar10-resnet, 32x32 colour (the recipe of Zhang et al. 2018)."""
    return EmbeddedFeatures("cifar10-resnet", ("whiten", "blocks.0", "blocks.1", "blocks.2"))
