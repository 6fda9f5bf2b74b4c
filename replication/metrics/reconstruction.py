"""How near reconstructions come to their originals, pixel by pixel: PSNR and SSIM, means over images.

PSNR in dB, of each image by itself, peak 255. SSIM (Wang et al. 2004) is scikit-image's: uniform windows of 7x7 pixels,
which fit the smallest images here; papers that use Gaussian windows of 11x11 print other values.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from replication.metrics.metric import RECONSTRUCTIONS, Material, Metric, Row
from replication.metrics.proportion import Z95
from replication.registry import METRICS
from replication.types import InputError

PEAK = 255


class _OfPixels(Metric):
    """The mean over images of a similarity of each with its reconstruction."""

    higher_is_better, needs, of_features = True, ("reconstructions", "originals"), False
    spread, table = "error", RECONSTRUCTIONS
    similarity: Callable[[Tensor, Tensor], float]  # of uint8 [C,H,W] and [C,H,W]

    def compute(self, material: Material, reconstructions: Tensor, originals: Tensor) -> Row:
        """Raises InputError for fewer than two images, or shapes that differ."""
        pairs = _pairs(reconstructions, originals)
        of = torch.tensor([type(self).similarity(a, b) for a, b in pairs], dtype=torch.float64)
        mean, error = float(of.mean()), float(of.std()) / math.sqrt(len(of))
        ends = {f"{self.name}_low": mean - Z95 * error, f"{self.name}_high": mean + Z95 * error}
        return {self.name: mean, **ends, f"{self.name}_se": error}


@METRICS.register("psnr")
class PSNR(_OfPixels):
    """PSNR of reconstructions in dB, peak 255, of each image by itself (as Rombach et al. 2022, table 8).

    An image without any error counts with the PSNR of one grey level in one of its values.
    """

    name, label, unit, form, position = "psnr", "PSNR", "dB", "{:.2f}", 21

    @staticmethod
    def similarity(a: Tensor, b: Tensor) -> float:
        squared = float((a.double() - b.double()).square().mean())
        return 10 * math.log10(PEAK**2 / max(squared, 1 / a.numel()))


@METRICS.register("ssim")
class SSIM(_OfPixels):
    """SSIM of reconstructions (Wang et al. 2004), with uniform windows of 7x7 pixels, which fit the smallest images."""

    name, label, form, position = "ssim", "SSIM", "{:.4f}", 22

    @staticmethod
    def similarity(a: Tensor, b: Tensor) -> float:
        from skimage.metrics import structural_similarity

        return float(structural_similarity(a.numpy(), b.numpy(), channel_axis=0, data_range=PEAK))


def _pairs(reconstructions: Tensor, originals: Tensor) -> list[tuple[Tensor, Tensor]]:
    if reconstructions.shape != originals.shape or len(originals) < 2:
        raise InputError(
            f"PSNR and SSIM need at least two images and as many reconstructions, got {list(originals.shape)} and "
            f"{list(reconstructions.shape)}"
        )
    return list(zip(reconstructions, originals, strict=True))  # image by image: 50,000 of 256x256 are no small set
