"""How near reconstructions come to their originals, pixel by pixel: PSNR and SSIM, means over images.

PSNR in dB, of each image by itself, peak 255. SSIM (Wang et al. 2004) is scikit-image's: uniform windows of 7x7 pixels,
which fit the smallest images here; papers that use Gaussian windows of 11x11 print other values.
"""

import math
from collections.abc import Sequence

import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from replication.metrics.proportion import Z95
from replication.types import InputError

PEAK = 255


def pixel_similarity(reconstructions: Tensor, originals: Tensor) -> dict[str, float]:
    """`psnr` and `ssim` of uint8 [N,C,H,W] against uint8 [N,C,H,W], each with `_low`, `_high` and `_se`.

    An image without any error counts with the PSNR of one grey level in one of its values. Raises InputError for
    fewer than two images, or shapes that differ.
    """
    if reconstructions.shape != originals.shape or len(originals) < 2:
        raise InputError(
            f"PSNR and SSIM need at least two images and as many reconstructions, got {list(originals.shape)} and "
            f"{list(reconstructions.shape)}"
        )
    pairs = list(zip(reconstructions, originals, strict=True))  # image by image: 50,000 of 256x256 are no small set
    psnr = [_psnr(a, b) for a, b in pairs]
    ssim = [structural_similarity(a.numpy(), b.numpy(), channel_axis=0, data_range=PEAK) for a, b in pairs]
    return _mean("psnr", psnr) | _mean("ssim", ssim)


def _psnr(a: Tensor, b: Tensor) -> float:
    squared = float((a.double() - b.double()).square().mean())
    return 10 * math.log10(PEAK**2 / max(squared, 1 / a.numel()))


def _mean(key: str, values: Sequence[float]) -> dict[str, float]:
    of = torch.tensor(values, dtype=torch.float64)
    mean, error = float(of.mean()), float(of.std()) / math.sqrt(len(of))
    return {key: mean, f"{key}_low": mean - Z95 * error, f"{key}_high": mean + Z95 * error, f"{key}_se": error}
