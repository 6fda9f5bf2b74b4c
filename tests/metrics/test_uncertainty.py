"""Bootstrap: the resampled statistics against torch-fidelity, and the intervals against known truths."""

import pytest
import torch
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from replication.metrics.features import Features
from replication.metrics.frechet import ENOUGH, FrechetDistance, Gaussian, frechet_distance, resampled_fd
from replication.metrics.metric import Material, metric_named
from replication.metrics.mmd import kernel_distance
from replication.metrics.uncertainty import (
    Draws,
    Influence,
    calibrated,
    draw,
    draw_paired,
    joint_intervals,
    linear_part,
    recentred,
    resample_counts,
    wilson,
)
from replication.metrics.without_reference import inception_score


def gaussian(n: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def once(n: int, m: int) -> Draws:
    """A single resample that is the sample."""
    ones = (torch.ones(1, size, dtype=torch.uint8) for size in (n, m))
    return Draws(torch.zeros(1, 1, dtype=torch.int64), next(ones)[None], next(ones), (n,))


@pytest.mark.parametrize(("width", "n", "m"), [(4, 500, 400), (8, ENOUGH * 8, ENOUGH * 8)])
def test_intervals_cover_the_known_distances(width: int, n: int, m: int) -> None:
    """Two Gaussians whose distance is known in closed form, 500 images of one against 400 of the other in D = 4, and in
    D = 8 as few as FD-infinity is given for: in 92 to 98 % of 200 trials the 95 % interval of FD-infinity holds that
    distance, and the interval of FD the mean FD of the trials. The reference is drawn anew in each.

    Catches: the reference taken as fixed (89 %), an interval of one standard error (67 %).
    """
    generator = torch.Generator().manual_seed(1)
    scales = torch.linspace(1.0, 0.4, width)
    mean, other = torch.full((width,), 0.25), 1.1 * scales
    truth = FrechetDistance(Gaussian(torch.zeros(width).double(), scales.double().square().diag()))(
        Gaussian(mean.double(), other.double().square().diag())
    ).item()
    plain, around, extrapolated = [], [], []
    for _ in range(200):
        generated = other * torch.randn(n, width, generator=generator) + mean
        real = scales * torch.randn(m, width, generator=generator)
        material = Material([Features(generated)], Features(real), resamples=80)
        found = [metric_named(name).compute(material, [generated], real) for name in ("fd", "fd_infinity")]
        plain.append(found[0].columns["fd"])
        around.append([found[0].columns[f"fd_{end}"] for end in ("low", "high")])
        extrapolated.append([found[1].columns[f"fd_infinity_{end}"] for end in ("low", "high")])

    def covered(intervals: list[list[float]], value: float) -> float:
        return sum(low <= value <= high for low, high in intervals) / len(intervals)

    assert 0.92 <= covered(extrapolated, truth) <= 0.98
    assert 0.92 <= covered(around, sum(plain) / len(plain)) <= 0.98


def test_surplus_of_the_second_order_is_removed() -> None:
    """Two sets of one law, D = 6, where slopes vanish: over 60 trials the calibrated standard error is within 25 % of
    the scatter of FD, whereas that of raw resamples is 40 % too large or more, and the raw distances lie above the point.

    Catches: raw quantiles or raw deviations used, the linear part dropped with its surplus.
    """
    generator = torch.Generator().manual_seed(2)
    points, raw, errors, above = [], [], [], 0
    for trial in range(60):
        generated, real = torch.randn(200, 6, generator=generator), torch.randn(150, 6, generator=generator)
        points.append(frechet_distance(generated, real))
        replicates, linear = resampled_fd([generated], real, points[-1:], draw([200], 150, resamples=60, seed=trial))
        raw.append(replicates.var().item())
        errors.append(calibrated(replicates, linear).var().item())
        above += replicates.mean().item() > points[-1]
    scatter = torch.tensor(points).var().item()
    assert above == 60
    assert sum(raw) / 60 > 1.4**2 * scatter
    assert 0.75**2 * scatter < sum(errors) / 60 < 1.25**2 * scatter


def test_recentring_keeps_the_shape() -> None:
    """79 replicates of mean 9.75 around the point 3 give 3 + the deviations of the 2nd and the 78th, within 1e-12.
    Catches: centring on the replicates' own mean, one-sided quantiles, the variance returned for the standard error."""
    replicates = torch.arange(79).double() / 4
    interval = recentred(3.0, replicates)
    assert interval.low == pytest.approx(3 - 9.5, abs=1e-12)
    assert interval.high == pytest.approx(3 + 9.5, abs=1e-12)
    assert interval.standard_error == pytest.approx(replicates.std().item(), abs=1e-12)


def test_calibration_removes_the_surplus() -> None:
    """A linear part of variance 9 and a rest of variance 2 make 9 - 4 + 2 = 7, 5 % tolerance; a metric that is linear
    is left as it is, and one whose rest is too large keeps the rest alone. Catches: the rest shrunk in the linear
    part's place, standard deviations subtracted for variances, a NaN from a negative root."""
    linear, rest = 3 * gaussian(1, 20_000, 1)[0].double(), 2**0.5 * gaussian(1, 20_000, 2)[0].double()
    assert calibrated(linear + rest + 5, linear).var().item() == pytest.approx(7, rel=0.05)
    assert (calibrated(linear, linear) - (linear - linear.mean())).abs().max() < 1e-12
    assert calibrated(linear + 9 * rest, linear).var().item() == pytest.approx(162, rel=0.05)


def test_linear_part_of_means_is_exact() -> None:
    """A difference of the two sets' means is its own linear part, for two seeds of unequal size, max-abs 1e-12.
    Catches: a seed's images given to another, the padding counted as images, the reference left out."""
    seeds, real = [gaussian(1, n, n)[0].double() for n in (30, 20)], gaussian(1, 25, 3)[0].double()
    draws = draw([30, 20], 25, resamples=50, seed=1)
    points = [(values.mean() - real.mean()).item() for values in seeds]
    found = linear_part(points, [Influence(values, -real) for values in seeds], draws)
    for row in range(50):
        means = [
            (draws.generated[row, slot, : len(seeds[index])].double() @ seeds[index]).item() / len(seeds[index])
            for slot, index in enumerate(draws.seeds[row].tolist())
        ]
        expected = sum(means) / 2 - (draws.reference[row].double() @ real).item() / 25
        assert found[row].item() == pytest.approx(expected, abs=1e-12)


def test_kid_equals_torch_fidelity() -> None:
    """The sample itself as the only resample gives torch-fidelity's KID with one subset of everything, and the subsets
    give its mean and scatter over subsets of all reference images and as many generated ones, max-abs 1e-5 (its
    float32). Catches: the diagonal kept, the cross term not doubled, the reference's own term left out, another order
    of drawing."""
    values, real = gaussian(130, 16, 1) + 0.3, gaussian(120, 16, 3)
    found = kernel_distance([values[:120]], real, once(120, 120))
    theirs = kid_features_to_metric(values[:120], real, kid_subsets=1, kid_subset_size=120, verbose=False)
    assert found.replicates.item() == pytest.approx(theirs[KEY_METRIC_KID_MEAN], abs=1e-5)
    assert found.linear.item() == pytest.approx(found.replicates.item(), abs=1e-12)
    assert found.replicates.item() > 0.01
    found = kernel_distance([values], real, once(130, 120))
    theirs = kid_features_to_metric(values, real, kid_subset_size=120, verbose=False)
    assert found.subsets.mean().item() == pytest.approx(theirs[KEY_METRIC_KID_MEAN], abs=1e-5)
    assert found.subsets.std(correction=0).item() == pytest.approx(theirs[KEY_METRIC_KID_STD], abs=1e-5)


def test_kid_resamples_are_unbiased(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean over resamples is the statistic itself within 4 standard errors, in one block or in blocks of 32 rows;
    most of the resamples' variance is linear where the sets lie apart.

    Catches: copies of one image counted as a pair (a bias of k(x, x) / n, over 20 standard errors here), a diagonal
    that is zeroed in the first block only, an influence of the wrong size or sign.
    """
    values, real = gaussian(100, 16, 1) + 0.4, gaussian(90, 16, 2)
    point = kernel_distance([values], real, once(100, 90)).replicates
    draws = draw([100], 90, resamples=400, seed=0)
    whole = kernel_distance([values], real, draws)
    assert (whole.replicates.mean() - point).abs().item() < 4 * whole.replicates.std().item() / 20
    assert (whole.replicates - whole.linear).var() < 0.1 * whole.replicates.var()
    monkeypatch.setattr("replication.metrics.mmd.ROWS", 32)
    blocks = kernel_distance([values], real, draws)
    assert (blocks.replicates - whole.replicates).abs().max().item() < 1e-12
    assert (blocks.linear - whole.linear).abs().max().item() < 1e-12


def test_kid_error_near_the_reference() -> None:
    """Two sets of one law, where slopes vanish: over 150 trials the calibrated standard error is 0.7 to 1.45 times the
    scatter of KID, and that of raw resamples larger than 1.5 times. Catches: the surplus kept or taken twice, the
    reference fixed, an influence of the wrong size."""
    points, raw, errors = [], [], []
    for trial in range(150):
        values, real = gaussian(80, 4, 2 * trial), gaussian(70, 4, 2 * trial + 1)
        points.append(kernel_distance([values], real, once(80, 70)).replicates.item())
        found = kernel_distance([values], real, draw([80], 70, resamples=60, seed=trial))
        raw.append(found.replicates.var().item())
        errors.append(calibrated(found.replicates, found.linear).var().item())
    scatter = torch.tensor(points).var().item()
    assert sum(raw) / 150 > 1.5**2 * scatter
    assert 0.7**2 * scatter < sum(errors) / 150 < 1.45**2 * scatter


def test_is_equals_torch_fidelity_without_splits() -> None:
    """All images once: torch-fidelity's score with one split, max-abs 1e-10. Catches: the marginal averaged over
    logits, the logarithm to another base, the exponential left out."""
    logits = 3 * gaussian(90, 10, 4)
    theirs = isc_features_to_metric(logits, splits=1)[KEY_METRIC_ISC_MEAN]
    assert inception_score(logits, torch.ones(1, 90).double()).item() == pytest.approx(theirs, abs=1e-10)


def test_seeds_are_resampled_before_images() -> None:
    """Two seeds whose metric is exactly 0 and 1: the replicates are 0, 1/2 and 1 in proportions 1:2:1 (3 sigma), and
    the draws are the same for the same seed. Catches: only images resampled (always 1/2), one seed drawn for all."""
    draws, again, other = (draw([5, 5], 5, resamples=400, seed=seed) for seed in (1, 1, 2))
    replicates = draws.mean(
        torch.full((int((draws.seeds == index).sum()),), float(index)).double() for index in range(2)
    )
    assert 170 <= (replicates == 0.5).sum() <= 230
    assert 74 <= (replicates == 0).sum() <= 126
    for name in ("seeds", "generated", "reference"):
        assert getattr(draws, name).equal(getattr(again, name))
        assert not getattr(draws, name).equal(getattr(other, name))


def test_resamples_have_the_size_of_the_sample() -> None:
    """Each row of counts sums to n and images are taken 1 time on average with variance near 1 (a multinomial).
    Catches: resampling without replacement (variance 0), a wrong resample size."""
    counts = resample_counts(50, 300, torch.Generator().manual_seed(0))
    assert counts.sum(1).eq(300).all()
    assert counts.double().var().item() == pytest.approx(1.0, abs=0.05)


def test_the_error_of_a_mean_is_joint() -> None:
    """Eight estimates of variance v have a mean with an error of variance v / 8, 5 % tolerance over 20,000 draws, and the
    errors of two rows correlate as their estimates do (0.6, within 0.02), whose draws are of one stream.

    Catches: the scatter of single estimates taken for the error of their mean (8 times), the 1 - 1/8 not made good, one
    normal for all rows (a correlation of 1), draws of each row by itself (0).
    """
    draws = draw([10], 10, resamples=20_000, seed=3)
    own, common = torch.linalg.qr(gaussian(8, 3, 1).double() - gaussian(8, 3, 1).double().mean(0)).Q.T[:2]
    one, other = common, 0.6 * common + 0.8 * own
    errors = torch.stack([draws.error_of_mean(estimates) for estimates in (one + 5, other)])
    assert errors.var(1).tolist() == pytest.approx([one.var().item() / 8] * 2, rel=0.05)
    assert torch.corrcoef(errors)[0, 1].item() == pytest.approx(0.6, abs=0.02)
    assert draw([10], 30, resamples=20_000, seed=3).error_of_mean(other).equal(errors[1])


def test_a_stream_names_what_its_draws_are_a_function_of() -> None:
    """Equal arguments give one stream and equal draws; each other argument, another stream. Catches: an argument left
    out, by which replicates of other draws would pass for joint ones."""
    assert draw([20, 20], 10, 4, 1).stream == draw([20, 20], 10, 4, 1).stream
    others = [
        draw([20, 20], 10, 4, 1),
        draw([20, 21], 10, 4, 1),
        draw([20], 10, 4, 1),
        draw([20, 20], 11, 4, 1),
        draw([20, 20], 10, 5, 1),
        draw([20, 20], 10, 4, 2),
        draw([10], 10, 4, 1),
        draw_paired(10, 4, 1),
    ]
    assert len({draws.stream for draws in others}) == len(others)


def test_wilson_interval() -> None:
    """Published example: 81 of 263 gives 0.2553 to 0.3662 (Newcombe 1998, method 3), max-abs 5e-5. Catches: the Wald
    interval (0.2522), a one-sided z."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_joint_figures_cancel_what_they_have_in_common() -> None:
    """Two figures that move together to the last bit have a certain ratio; by themselves each is uncertain by a tenth. The
    second is the numerator. Catches: an interval of independent errors, the two exchanged, means that are not moved onto the
    points, a ratio of what may be negative."""
    shared = 0.1 * torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first, second = 2 * shared.exp(), 3 * shared.exp() + 0.5  # the second's replicates have a bias, as those of FD have
    found = joint_intervals((2.0, 3.0), (first, second))
    assert found.difference[0] == 1
    assert found.ratio is not None
    assert found.ratio[0] == 1.5
    assert found.correlation == pytest.approx(1)
    assert found.ratio[2] - found.ratio[1] < 0.02
    apart = joint_intervals(
        (2.0, 3.0), (first, second[torch.randperm(400, generator=torch.Generator().manual_seed(1))])
    )
    assert apart.ratio is not None
    assert apart.ratio[2] - apart.ratio[1] > 0.3
    assert joint_intervals((0.1, 3.0), (shared, second)).ratio is None  # the interval of 0.1 reaches 0
    assert joint_intervals((-2.0, -3.0), (first, second)).ratio is None
    assert joint_intervals((2.0, 3.0), (first, torch.ones(400))).correlation is None
