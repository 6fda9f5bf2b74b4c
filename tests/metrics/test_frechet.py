"""The Fréchet distance and its value without bias, against closed forms and against torch-fidelity."""

import pytest
import torch
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from replication.metrics.frechet import FrechetDistance, Gaussian, fit, frechet_distance, influence, without_bias


def features(n: int, width: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=torch.Generator().manual_seed(99)) / width**0.5
    return torch.randn(n, width, generator=generator) @ mixing + shift


def test_closed_form_for_commuting_covariances() -> None:
    """Diagonal Gaussians: |m - mu|^2 + sum (sqrt s - sqrt c)^2, here 7, within 1e-10. Catches: a root taken once too
    often or too rarely, the factor 2 dropped, a mean term not squared."""
    a = Gaussian(torch.tensor([1.0, 0.0, 2.0]).double(), torch.diag(torch.tensor([4.0, 9.0, 0.0]).double()))
    b = Gaussian(torch.tensor([0.0, 0.0, 1.0]).double(), torch.diag(torch.tensor([1.0, 1.0, 0.0]).double()))
    assert FrechetDistance(a)(b).item() == pytest.approx(7.0, abs=1e-10)
    assert FrechetDistance(b)(a).item() == pytest.approx(7.0, abs=1e-10)


@pytest.mark.parametrize(("n", "m"), [(300, 200), (40, 200), (200, 40), (30, 40)])
@pytest.mark.parametrize("dead", [0, 9])
@pytest.mark.parametrize("columns", [20, 64])
def test_agrees_with_torch_fidelity(n: int, m: int, dead: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same figure as torch-fidelity, 1e-6 relative, with full rank, with n < D = 64 on either side or both, and with
    features that are never active; in one block of columns, or in several with a smaller one at the end.

    Catches: covariance divided by N instead of N - 1 (3 % off at n = 30); a Cholesky factor or an inverse where there
    is none; a block left out or added twice.
    """
    monkeypatch.setattr("replication.metrics.frechet.COLUMNS", columns)
    generated, real = features(n, 64, 1, shift=0.5), features(m, 64, 2)
    generated[:, :dead] = real[:, :dead] = 0
    theirs = fid_statistics_to_metric(fid_features_to_statistics(generated), fid_features_to_statistics(real), False)
    assert frechet_distance(generated, real) == pytest.approx(theirs[KEY_METRIC_FID], rel=1e-6)


def test_counts_stand_for_copies() -> None:
    """A resample by counts equals the distance of the images copied out, within 1e-10. Catches: the mean weighted but
    not the covariance, the divisor taken from the distinct images."""
    generated, distance = features(50, 8, 1), FrechetDistance(fit(features(60, 8, 2)))
    counts = (torch.arange(50) % 4).to(torch.uint8)
    copied = generated.repeat_interleave(counts.long(), dim=0)
    assert distance(fit(generated, counts)).item() == pytest.approx(distance(fit(copied)).item(), abs=1e-10)


@pytest.mark.parametrize(("n", "m", "tolerance"), [(2000, 1500, 0.01), (40, 50, 0.15)])
def test_influence_is_the_derivative(n: int, m: int, tolerance: float) -> None:
    """Influences of some rows of either set equal n times the change of FD per weight, less the mean change, within
    1 % of the largest (divisor N - 1 instead of N is neglected), and within 15 % where D = 64 exceeds n and m.

    Catches: the transport map taken the wrong way round, the mean's term halved or of the same sign in both sets, an
    eigenvalue of a singular matrix inverted.
    """
    width = 64 if n < 64 else 4
    x, y = features(n, width, 1, shift=0.3).double(), 1.3 * features(m, width, 2).double()
    found = influence(x, y)
    for values, part, distance in (
        (x, found.generated, lambda counts: FrechetDistance(fit(y))(fit(x, counts))),
        (y, found.reference, lambda counts: FrechetDistance(fit(y, counts))(fit(x))),
    ):
        once, step = torch.ones(len(values)).double(), 1e-4
        changes = []
        for i in range(20):
            up, down = once.clone(), once.clone()
            up[i], down[i] = 1 + step, 1 - step
            changes.append((distance(up) - distance(down)) / (2 * step) * len(values))
        of_rows, expected = part - part.mean(), torch.stack(changes)
        # all weights scaled alike change nothing but the divisor: what is left of the mean change is that
        off = of_rows[:20] - expected
        assert (off - off.mean()).abs().max() < tolerance * of_rows.abs().max()


def test_infinity_is_without_bias() -> None:
    """Closed form 0.9475 in D = 12, estimated from n = 120 and m = 100 in 60 trials: the mean of FD-infinity is within
    4 standard errors and within a tenth of the bias of the plain FD, which is over 0.5.

    Catches: the generated set halved alone (the reference's bias stays), the line read at the wrong end, unequal parts.
    """
    generator = torch.Generator().manual_seed(3)
    scales = torch.linspace(0.5, 1.5, 12)
    truth = 12 * 0.2**2 + (0.25 * scales.square().sum()).item()
    plain, estimates = [], []
    for trial in range(60):
        generated = 1.5 * scales * torch.randn(120, 12, generator=generator) + 0.2
        real = scales * torch.randn(100, 12, generator=generator)
        plain.append(frechet_distance(generated, real))
        estimates.append(without_bias(generated, real, trial).mean())
    bias = sum(plain) / 60 - truth
    off = torch.stack(estimates) - truth
    assert bias > 0.5
    assert off.mean().abs() < min(bias / 10, 4 * off.std().item() / 60**0.5)
