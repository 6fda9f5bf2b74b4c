"""PSNR, SSIM and the paired distance of reconstructions."""

import math

import pytest
import torch

from replication.metrics.features import Features
from replication.metrics.metric import Material, Row, evaluate
from replication.types import InputError


def pixel_similarity(reconstructions: torch.Tensor, originals: torch.Tensor) -> Row:
    return evaluate(Material(reconstructions=reconstructions, originals=originals)).columns


def images(n: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 200, (n, 3, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_psnr_of_a_constant_error_is_its_closed_form() -> None:
    """max-abs 1e-12. Catches a peak of 1 or 2, the error averaged before the logarithm, and 20 for 10."""
    original = images()
    shifted = original.clone()
    shifted[:3] += 10
    shifted[3:] += 20
    expected = (3 * 20 * math.log10(255 / 10) + 3 * 20 * math.log10(255 / 20)) / 6
    found = pixel_similarity(shifted, original)
    assert abs(found["psnr"] - expected) <= 1e-12
    assert found["psnr_low"] < expected < found["psnr_high"]


def test_what_is_equal_has_ssim_one_and_a_finite_psnr() -> None:
    """max-abs 1e-12. Catches an infinite mean because of one perfect image."""
    found = pixel_similarity(images(), images())
    assert abs(found["ssim"] - 1) <= 1e-12
    assert abs(found["psnr"] - 10 * math.log10(255**2 * 192)) <= 1e-12


def test_ssim_sees_structure_that_psnr_does_not() -> None:
    """Equal errors in size: constant brightness leaves the structure, alternating signs do not. Catches a swapped pair."""
    base = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).expand(4, 1, 8, 8) + 60
    sign = torch.tensor([1, -1]).repeat(32).reshape(1, 1, 8, 8)
    noisy, brighter = (base.int() + 20 * sign).byte(), base + 20
    assert abs(pixel_similarity(noisy, base)["psnr"] - pixel_similarity(brighter, base)["psnr"]) <= 1e-9
    assert pixel_similarity(brighter, base)["ssim"] > pixel_similarity(noisy, base)["ssim"] + 0.2


def test_unequal_sets_are_refused() -> None:
    for pair in ((images(3), images(4)), (images(1), images(1))):
        with pytest.raises(InputError, match="at least two images and as many reconstructions"):
            pixel_similarity(*pair)


def test_the_interval_of_a_paired_distance_leaves_the_draw_of_images_out() -> None:
    """The same features give 0 [0, 0]; near ones an interval far narrower than that of independent sets.

    Catches resampling the two sides each by itself.
    """
    generator = torch.Generator().manual_seed(0)
    originals = torch.randn(300, 4, generator=generator)
    same = evaluate(Material([Features(originals)], Features(originals), paired=True, resamples=50)).columns
    assert max(abs(same[key]) for key in ("fd", "fd_low", "fd_high")) <= 1e-9
    near = Features(originals + 0.3 + 0.05 * torch.randn(300, 4, generator=generator))
    paired, apart = (
        evaluate(Material([near], Features(originals), paired=paired, resamples=50)).columns for paired in (True, False)
    )
    assert paired["fd_se"] < 0.3 * apart["fd_se"]
    assert abs(paired["fd"] - apart["fd"]) <= 1e-12
    assert paired["fd_low"] <= paired["fd"] <= paired["fd_high"]
