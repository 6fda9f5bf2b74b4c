"""Perceptual distances on the embedded classifiers' feature maps, for datasets that LPIPS was not made for.

LPIPS without its learned weights: every channel counts 1. The classifiers are the extractors' own, so nothing needs to be
downloaded, and a first stage trained with one is judged by FD on another layer of the same network.
"""

from typing import Any

from torch import Tensor, nn

from replication.ldm.losses.distances import Perceptual, unit_difference
from replication.pixels import to_levels
from replication.registry import EXTRACTORS, PERCEPTUAL
from replication.types import InputError


class EmbeddedFeatures(Perceptual):
    """The maps that the named modules of an extractor's classifier put out."""

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
