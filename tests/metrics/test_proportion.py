"""The interval of a proportion."""

import pytest

from replication.metrics.proportion import wilson


def test_wilson_interval() -> None:
    """Published example: 81 of 263 gives 0.2553 to 0.3662 (Newcombe 1998, method 3), max-abs 5e-5. Catches: the Wald
    interval (0.2522), a one-sided z."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
