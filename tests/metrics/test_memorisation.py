"""Memorisation: known shares, known rank statistics, and intervals that cover them."""

import pytest
import torch

from replication.metrics import manifold as module
from replication.metrics.manifold import memorisation
from replication.registry import DATASETS, EXTRACTORS
from replication.types import InputError


def gaussian(n: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def test_rank_statistic_by_hand() -> None:
    """Training image at 0. Generated at distances 1, 2, 5, held out at 2, 3, 4: of nine pairs the generated one is
    nearer in 3 + 2.5 + 0, ties half. The 5 % quantile of 2, 3, 4 is 2.1: two of three are nearer.

    Catches: farther counted for nearer, ties as wins, the quantile taken of the generated images.
    """
    training, generated, held_out = (torch.tensor(x)[:, None] for x in ([0.0], [1.0, 2.0, 5.0], [2.0, 3.0, 4.0]))
    found = memorisation(generated, training, held_out)
    assert found["memorisation_auc"] == pytest.approx(5.5 / 9, abs=1e-12)
    assert found["memorisation"] == pytest.approx(2 / 3, abs=1e-12)


def test_copies_are_found_and_fresh_images_are_not() -> None:
    """Fresh images of the same law: 0.05 and 0.5 lie in the intervals. A tenth of the images copied: the share rises
    to 0.10 + 0.90 * 0.05 = 0.145 (3 sigma: 0.06) and its interval leaves 0.05. All copied: both are 1, with intervals
    that end there but have a width.

    Catches: distances to the generated set instead of the training set, an interval of no width where all agree.
    """
    training, held_out, fresh = gaussian(600, 6, 1), gaussian(400, 6, 2), gaussian(400, 6, 3)
    none = memorisation(fresh, training, held_out)
    assert none["memorisation_low"] < 0.05 < none["memorisation_high"]
    assert none["memorisation_auc_low"] < 0.5 < none["memorisation_auc_high"]
    assert 0.01 < none["memorisation_auc_se"] < 0.03  # sqrt((n + m + 1) / 12 n m) = 0.0204
    some = memorisation(torch.cat([training[:40], fresh[40:]]), training, held_out)
    assert some["memorisation"] == pytest.approx(0.145, abs=0.06)
    assert some["memorisation_low"] > 0.05
    every = memorisation(training[:400], training, held_out)
    for key in ("memorisation", "memorisation_auc"):
        assert (every[key], every[f"{key}_high"], every[f"{key}_se"]) == (1.0, pytest.approx(1.0), 0.0)
        assert 0.98 < every[f"{key}_low"] < 0.995


def test_intervals_cover() -> None:
    """Distances drawn from one law: 0.05 and 0.5 are covered in 88 % or more of 60 trials (binomial 3 sigma of 95 %
    at 60: 86.6 %), with the held-out set's sampling. Catches: its quantile taken for known (60 held-out images here:
    the interval of a fixed threshold covers about 75 %)."""
    covered = {"memorisation": 0, "memorisation_auc": 0}
    origin = torch.zeros(1, 1)
    for trial in range(60):
        generator = torch.Generator().manual_seed(trial)
        generated, held_out = (1 + torch.rand(n, 1, generator=generator) for n in (400, 60))
        found = memorisation(generated, origin, held_out, resamples=100)
        for key, truth in (("memorisation", 0.05), ("memorisation_auc", 0.5)):
            covered[key] += found[f"{key}_low"] <= truth <= found[f"{key}_high"]
    assert min(covered.values()) >= 53, covered


def test_digits_copied_and_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """On digits-cnn's values copies of training digits are all found, and held-out digits against the other half of
    them are not distinguished. Catches: blocks that see part of the training set only."""
    monkeypatch.setattr("replication.metrics.manifold.BLOCK", 100)
    digits, extractor = DATASETS.build("digits"), EXTRACTORS.build("digits-cnn")
    training = extractor(digits.load("train").images).values
    held_out = extractor(digits.load("test").images).values
    assert memorisation(training[-50:], training, held_out)["memorisation"] == 1.0
    halves = memorisation(held_out[::2], training, held_out[1::2])
    assert halves["memorisation_low"] < 0.05 < halves["memorisation_high"]
    assert halves["memorisation_auc_low"] < 0.5 < halves["memorisation_auc_high"]


def test_unusable_sets_are_refused() -> None:
    """No images, another width. Catches: an infinity for the distance to nothing."""
    with pytest.raises(InputError, match=r"training images must be .* training \[0, 4\]"):
        memorisation(torch.zeros(3, 4), torch.zeros(0, 4), torch.zeros(3, 4))
    with pytest.raises(InputError, match="held-out images must be"):
        memorisation(torch.zeros(3, 4), torch.zeros(5, 4), torch.zeros(3, 5))


def test_ties_with_the_quantile_count() -> None:
    """Where 5 % of the held-out images are copies too, copies count. Catches: a strict comparison, which reports no
    memorisation of a generator that only copies."""
    near, held_out = torch.zeros(20).double(), torch.cat([torch.zeros(2), torch.ones(18)]).double()
    assert module._statistics(near, held_out)[0] == 1.0
