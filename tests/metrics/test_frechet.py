"""The Fréchet distance used for resampling, against closed forms and against torch-fidelity."""

import pytest
import torch
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from replication.metrics.frechet import FrechetDistance, Gaussian, fit, resampled_fd


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
def test_agrees_with_torch_fidelity(n: int, m: int) -> None:
    """Same figure as torch-fidelity, 1e-6 relative, with full rank and with n < D = 64 on either side or both.

    Catches: covariance divided by N instead of N - 1 (3 % off at n = 30); a Cholesky or inverse that needs full rank.
    """
    generated, real = features(n, 64, 1, shift=0.5), features(m, 64, 2)
    theirs = fid_statistics_to_metric(fid_features_to_statistics(generated), fid_features_to_statistics(real), False)
    ours = FrechetDistance(fit(real))(fit(generated)).item()
    assert ours == pytest.approx(theirs[KEY_METRIC_FID], rel=1e-6)


def test_counts_stand_for_copies() -> None:
    """A resample by counts equals the distance of the images copied out, within 1e-10. Catches: the mean weighted but
    not the covariance, the divisor taken from the distinct images."""
    generated, distance = features(50, 8, 1), FrechetDistance(fit(features(60, 8, 2)))
    counts = (torch.arange(50) % 4).double()
    copied = generated.repeat_interleave(counts.long(), dim=0)
    assert resampled_fd(generated, distance, counts[None])[0].item() == pytest.approx(
        distance(fit(copied)).item(), abs=1e-10
    )
