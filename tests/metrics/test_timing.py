"""The interval of a median of times, and what disturbs them on a device."""

import random

import pytest
import torch
from scipy.stats import binom

from replication.metrics import timing
from replication.metrics.timing import median_interval


def test_one_disturbed_chunk_of_many_does_not_stretch_the_interval() -> None:
    """Catches the smallest and the largest of eighteen, which hold the median with 99.999 % and an outlier too."""
    values = [1.0 + i / 100 for i in range(17)] + [50.0]
    random.Random(0).shuffle(values)
    median, low, high = median_interval(values)
    assert low <= median <= high < 1.2
    assert (low, high) == (1.04, 1.13)  # the 5th smallest and largest: 96.9 %; the 6th would be 90.4 %


def test_the_rank_is_the_largest_that_leaves_95_percent() -> None:
    """Exact, by the binomial law of scipy. Catches a rank one too large or small; below six values it is the extremes."""
    for n in range(1, 60):
        _, low, high = median_interval([float(i) for i in range(1, n + 1)])
        k = int(low)
        assert high == n + 1 - k
        assert n < 6 or 2 * binom.cdf(k - 1, n, 0.5) <= 0.05
        assert 2 * binom.cdf(k, n, 0.5) > 0.05


@pytest.mark.parametrize(("others", "shares"), [(0, False), (1 << 30, False), (5 << 30, True)])
def test_another_process_on_the_device_disturbs(others: int, shares: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches what our own tensors take counted as another process's, and a context of our own."""
    whole, ours = 80 << 30, 30 << 30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (whole - ours - others, whole))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: ours)
    assert timing._shared(torch.device("cuda")) is shares
    assert not timing._shared(torch.device("cpu"))
