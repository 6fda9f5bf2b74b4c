"""Bootstrap: the resampled statistics against torch-fidelity, and the intervals against known truths."""

from functools import partial

import pytest
import torch
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

from replication.metrics.frechet import FrechetDistance, Gaussian, fit, resampled_fd
from replication.metrics.inception_score import resampled_is
from replication.metrics.kernel_distance import resampled_kid
from replication.metrics.uncertainty import bootstrap, recentred, resample_counts


def gaussian(n: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def test_interval_covers_the_known_value() -> None:
    """Gaussian features, D = 8, n = 100: the 95 % interval holds the mean distance of a set of n in 85 % of 60 trials
    or more (binomial 3 sigma), and not by being vacuous: its standard error is within half and double the true one.

    Catches: not recentring (the raw quantiles cover under 70 %, asserted), an interval of one standard error (68 %).
    """
    generator = torch.Generator().manual_seed(5)
    distance = FrechetDistance(Gaussian(torch.zeros(8).double(), torch.eye(8).double()))
    draws = [1.1 * torch.randn(100, 8, generator=generator).double() + 0.2 for _ in range(460)]
    distances = torch.stack([distance(fit(draw)) for draw in draws])
    truth, spread = distances.mean().item(), distances.std().item()
    covered, covered_raw, errors = 0, 0, []
    for trial in range(60):
        replicates = bootstrap([partial(resampled_fd, draws[trial], distance)], [100], resamples=80, seed=trial)
        interval = recentred(distances[trial].item(), replicates)
        low, high = replicates.quantile(0.025).item(), replicates.quantile(0.975).item()
        covered += interval.low <= truth <= interval.high
        covered_raw += low <= truth <= high
        errors.append(interval.standard_error)
    assert covered >= 51
    assert covered_raw < 42
    assert 0.5 * spread < sum(errors) / len(errors) < 2 * spread


def test_recentring_keeps_the_shape() -> None:
    """Replicates of mean 10 around the point 3 give 3 + the quantiles of their deviations, within 1e-12. Catches:
    centring on the replicates' own mean, one-sided quantiles, the variance returned for the standard error."""
    replicates = torch.arange(0, 20.5, 0.5).double()
    interval = recentred(3.0, replicates)
    assert interval.low == pytest.approx(3 - 9.5, abs=1e-12)
    assert interval.high == pytest.approx(3 + 9.5, abs=1e-12)
    assert interval.standard_error == pytest.approx(replicates.std().item(), abs=1e-12)


def test_kid_differences_equal_torch_fidelity() -> None:
    """Between two sets of images the reference's constant cancels: the difference equals that of torch-fidelity's
    KID with one subset of everything, max-abs 1e-5 (its float32). Catches: the diagonal kept, the cross term not
    doubled."""
    a, b, real = gaussian(120, 16, 1) + 0.3, 1.2 * gaussian(120, 16, 2), gaussian(120, 16, 3)
    once = torch.ones(1, 120).double()
    ours = (resampled_kid(a, real, once) - resampled_kid(b, real, once)).item()
    options = {"kid_subsets": 1, "kid_subset_size": 120, "verbose": False}
    theirs = [kid_features_to_metric(x, real, **options)[KEY_METRIC_KID_MEAN] for x in (a, b)]
    assert ours == pytest.approx(theirs[0] - theirs[1], abs=1e-5)
    assert abs(ours) > 0.01


def test_kid_resamples_are_unbiased(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean over resamples is the statistic itself within 4 standard errors, in one block or in blocks of 32 rows.

    Catches: copies of one image counted as a pair (a bias of k(x, x) / n, over 20 standard errors here), and a diagonal
    that is zeroed in the first block only.
    """
    values, real = gaussian(100, 16, 1), gaussian(100, 16, 2)
    counts = resample_counts(400, 100, torch.Generator().manual_seed(0))
    point, replicates = resampled_kid(values, real, torch.ones(1, 100).double()), resampled_kid(values, real, counts)
    assert (replicates.mean() - point).abs().item() < 4 * replicates.std().item() / 20
    monkeypatch.setattr("replication.metrics.kernel_distance.ROWS", 32)
    assert (resampled_kid(values, real, counts) - replicates).abs().max().item() < 1e-12


def test_is_equals_torch_fidelity_without_splits() -> None:
    """All images once: torch-fidelity's score with one split, max-abs 1e-10. Catches: the marginal averaged over
    logits, the logarithm to another base, the exponential left out."""
    logits = 3 * gaussian(90, 10, 4)
    theirs = isc_features_to_metric(logits, splits=1)[KEY_METRIC_ISC_MEAN]
    assert resampled_is(logits, torch.ones(1, 90).double()).item() == pytest.approx(theirs, abs=1e-10)


def test_seeds_are_resampled_before_images() -> None:
    """Two seeds whose statistic is exactly 0 and 1: the replicates are 0, 1/2 and 1 in proportions 1:2:1 (3 sigma),
    and the same for the same seed. Catches: only images resampled (always 1/2), one seed drawn for all slots."""
    constant = [lambda counts: torch.zeros(len(counts)).double(), lambda counts: torch.ones(len(counts)).double()]
    replicates = bootstrap(constant, [5, 5], resamples=400, seed=1)
    assert 174 <= (replicates == 0.5).sum() <= 226 + 4
    assert 74 <= (replicates == 0).sum() <= 126
    assert replicates.equal(bootstrap(constant, [5, 5], resamples=400, seed=1))
    assert not replicates.equal(bootstrap(constant, [5, 5], resamples=400, seed=2))


def test_resamples_have_the_size_of_the_sample() -> None:
    """Each row of counts sums to n and images are taken 1 time on average with variance near 1 (a multinomial).
    Catches: resampling without replacement (variance 0), a wrong resample size."""
    counts = resample_counts(50, 300, torch.Generator().manual_seed(0))
    assert counts.sum(1).eq(300).all()
    assert counts.var().item() == pytest.approx(1.0, abs=0.05)
