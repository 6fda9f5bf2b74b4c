"""The conversions between [-1, 1] and uint8: exact values, and that they stand in one place."""

import re
from pathlib import Path

import pytest
import torch

from replication.pixels import QUANTIZERS, quantize, to_levels, to_signed
from replication.types import InputError

ROOT = Path(__file__).parents[1] / "replication"


def test_quantizers_on_chosen_values() -> None:
    """Exact. Catches adding 0.5 before the scale, clamping after the cast (256 wraps to 0), and names that were swapped."""
    x = torch.tensor(
        [-1.0, 1.0, -7.0, 7.0, 0.0, 0.2 / 127.5, 0.6 / 127.5, 100.75 / 127.5 - 1, 2.5 / 127.5 - 1], dtype=torch.float64
    )
    assert quantize(x, "round").tolist() == [0, 255, 0, 255, 128, 128, 128, 101, 3]
    assert quantize(x, "truncate").tolist() == [0, 255, 0, 255, 127, 127, 128, 100, 2]
    assert quantize(x, "round").dtype == torch.uint8
    with pytest.raises(InputError, match="unknown quantizer 'floor'"):
        quantize(x, "floor")


def test_every_grey_level_survives_the_way_to_the_network_and_back() -> None:
    """Exact in float32 for round; truncate may lose one level to float32, never more. Catches a scale of 127 or 128."""
    levels = torch.arange(256)
    x = to_signed(levels)
    assert (x - (levels.double() * 2 / 255 - 1)).abs().max() <= 1e-7
    assert torch.equal(to_levels(to_signed(levels, torch.float64)).round().long(), levels)
    assert torch.equal(quantize(x, "round").long(), levels)
    assert (quantize(x, "truncate").long() - levels).abs().max() <= 1
    assert set(QUANTIZERS) == {"round", "truncate"}


def test_no_other_module_converts_by_itself() -> None:
    """Catches a copy of the formula, which is how two parts come to disagree about what a pixel is."""
    own = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if re.search(r"(= |[*/] ?)127\.5", path.read_text())
    }
    assert own == {"pixels.py"}
