"""Figures of first stages: how near reconstructions come to their originals, and how much of a codebook is used.

SSIM (Wang et al. 2004) is scikit-image's, with uniform windows of 7x7 pixels, which fit the smallest images here; papers
that use Gaussian windows of 11x11 print other values.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from replication.metrics.metric import RECONSTRUCTIONS, Material, Measurement, Metric, columns
from replication.metrics.uncertainty import Z95, Interval
from replication.registry import METRICS
from replication.types import InputError

PEAK = 255


class _OfPixels(Metric):
    """The mean over images of a similarity of each with its reconstruction."""

    direction, needs, of_features = "higher", ("reconstructions", "originals"), False
    interval, table = "normal", RECONSTRUCTIONS
    similarity: Callable[[Tensor, Tensor], float]  # of uint8 [C,H,W] and [C,H,W]

    def compute(self, material: Material, reconstructions: Tensor, originals: Tensor) -> Measurement:
        """Raises InputError for fewer than two images, or shapes that differ."""
        if reconstructions.shape != originals.shape or len(originals) < 2:
            raise InputError(
                f"PSNR and SSIM need at least two images and as many reconstructions, got {list(originals.shape)} and "
                f"{list(reconstructions.shape)}"
            )
        # image by image: 50,000 of 256x256 are no small set
        pairs = zip(reconstructions, originals, strict=True)
        of = torch.tensor([type(self).similarity(a, b) for a, b in pairs], dtype=torch.float64)
        mean, error = float(of.mean()), float(of.std()) / math.sqrt(len(of))
        return Measurement(columns(self.name, mean, Interval(mean - Z95 * error, mean + Z95 * error, error)))


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


class _OfCodes(Metric):
    direction, needs, of_features, interval, table = "higher", ("codes",), False, "none", RECONSTRUCTIONS


@METRICS.register("codebook_usage")
class CodebookUsage(_OfCodes):
    """The share of a codebook's entries that occur at all (van den Oord et al. 2017 have the codebook)."""

    name, label, form, position = "codebook_usage", "codes used", "{:.1%}", 23

    def compute(self, material: Material, codes: Tensor) -> Measurement:
        return Measurement({self.name: float((codes > 0).double().mean())})


@METRICS.register("codebook_perplexity")
class CodebookPerplexity(_OfCodes):
    """exp of the entropy of a codebook's entries: their number, were they equally frequent (van den Oord et al. 2017)."""

    name, label, form, position = "codebook_perplexity", "perplexity", "{:.1f}", 24

    def compute(self, material: Material, codes: Tensor) -> Measurement:
        frequencies = codes.double() / codes.sum().clamp(min=1)
        used = frequencies[frequencies > 0]
        return Measurement({self.name: float((-used * used.log()).sum().exp())})
