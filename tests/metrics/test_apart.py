"""How far images lie from another row's: by hand, in batches of any size, and its interval."""

import pytest
import torch

from replication.metrics import Features, Material, evaluate
from replication.metrics.without_reference import image_rms


def test_by_hand() -> None:
    """Differences of 0, of 3 in every value, and of 255 in one of four: root mean squares 0, 3 and 127.5.

    Catches: uint8 that wraps around at 0, a mean of absolute differences (63.75), one number for all images.
    """
    ours = torch.tensor([[0, 0, 0, 0], [1, 2, 3, 250], [0, 0, 0, 255]], dtype=torch.uint8).reshape(3, 1, 2, 2)
    theirs = torch.tensor([[0, 0, 0, 0], [4, 5, 6, 253], [0, 0, 0, 0]], dtype=torch.uint8).reshape(3, 1, 2, 2)
    assert image_rms(ours.split(2), theirs.split(1)).tolist() == [0.0, 3.0, 127.5]
    with pytest.raises(ValueError, match="shorter"):
        image_rms([ours], [theirs[:2]])


def test_its_error_is_that_of_a_mean() -> None:
    """One seed of 300 images: the deviation over the root of 300, within a tenth. Catches: the reference's images in it."""
    generator = torch.Generator().manual_seed(0)
    apart = torch.rand(300, generator=generator, dtype=torch.float64)
    generated, real = (Features(torch.randn(n, 4, generator=generator)) for n in (300, 15))
    found = evaluate(Material([generated], real, apart=[apart], resamples=400)).columns
    assert found["image_rms"] == pytest.approx(apart.mean().item(), abs=1e-12)
    assert found["image_rms_se"] == pytest.approx(apart.std().item() / 300**0.5, rel=0.1)
