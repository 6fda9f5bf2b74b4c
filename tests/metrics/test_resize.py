"""Resizing as Pillow does it, against Pillow."""

import by_pillow
import pytest
import torch

from replication.metrics.extractors.vision_transformers import OfOneSize, pillow_bicubic


def noise(height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (256, 256), (300, 500), (45, 20), (8, 224), (224, 224)])
def test_levels_are_pillows(height: int, width: int) -> None:
    """Noise, which overshoots at both ends of the range: all levels but 0.2 % are Pillow's, whose weights are integers,
    and those are 2 off at most. Catches: no filter where the image shrinks, a = -3/4 as torch has it without one, the
    two passes exchanged or not rounded, values beyond white."""
    images = noise(height, width)
    off = (pillow_bicubic(images, 224) - by_pillow.resized(images, 224)).abs()
    assert off.max() <= 2
    assert (off > 0).double().mean() < 2e-3


def test_the_network_sees_the_normalised_image() -> None:
    """Levels over 255, minus the mean, over the deviation of each channel, max-abs 1e-6. Catches: channels reversed."""
    images, mean, std = noise(14, 14), (0.1, 0.2, 0.3), (1.0, 2.0, 4.0)
    (seen,) = OfOneSize(torch.nn.Flatten(), 14, mean, std)(images)
    for channel, (centre, deviation) in enumerate(zip(mean, std, strict=True)):
        expected = (images[:, channel] / 255 - centre) / deviation
        assert (seen.unflatten(1, (3, 14, 14))[:, channel] - expected).abs().max().item() < 1e-6
