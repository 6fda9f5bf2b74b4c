"""Samplers against diffusers, fed the same noise: every tolerance is max-abs 1e-5 in float64 on a random network.

diffusers' "leading" times are the uniform spacing where the number of steps divides T.
"""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from oracles.diffusers_peers import peer_ancestral, peer_ddim
from oracles.networks import SmallNetwork
from replication.diffusion import Denoiser, sample
from replication.noise import ImageNoise
from replication.registry import SAMPLERS, SCHEDULES, SPACINGS

SCHEDULE = SCHEDULES.build("linear", T=1000)
NETWORK = SmallNetwork().requires_grad_(False)
NOISE = ImageNoise(5, torch.arange(2))
X_T = NOISE.prior((2, 2, 4, 4)).double()


def noise(step: int, shape: Sequence[int]) -> Tensor:
    return NOISE(step, shape).double()


def ours(sampler: str, steps: int, clip: str, **options: object) -> Tensor:
    times = SPACINGS.build("uniform")(SCHEDULE, steps)
    return sample(Denoiser(NETWORK, SCHEDULE), SAMPLERS.build(sampler, **options), times, X_T, noise, clip)


@pytest.mark.parametrize("variance", ["fixed-large", "fixed-small"])
@pytest.mark.parametrize("clip", ["none", "x0"])
@pytest.mark.parametrize("steps", [10, 50, 1000])
def test_ancestral(variance: str, clip: str, steps: int) -> None:
    """Catches clipping after the mean, beta_t of the single step on a subset of times, noise on the last step."""
    expected = peer_ancestral(SCHEDULE, NETWORK, steps, X_T, noise, variance.replace("-", "_"), clip == "x0")
    answer = ours("ancestral", steps, clip, variance=variance)
    assert expected.std() > 0.1
    assert (answer - expected).abs().max() < 1e-5


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [5, 10, 20, 50])
def test_ddim(eta: float, steps: int) -> None:
    """Catches eta on the standard deviation's square, alpha taken at t instead of s, an end at alphas_cumprod[0]."""
    expected = peer_ddim(SCHEDULE, NETWORK, steps, X_T, noise, eta)
    assert (ours("ddim", steps, "none", eta=eta) - expected).abs().max() < 1e-5


@pytest.mark.parametrize(("clip", "rederive"), [("x0", False), ("x0+eps", True)])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_clipped(clip: str, rederive: bool, eta: float) -> None:
    """Catches the two clips being mistaken for one another: with these they differ by more than 0.1."""
    expected = peer_ddim(SCHEDULE, NETWORK, 10, X_T, noise, eta, clip=True, rederive=rederive)
    other = peer_ddim(SCHEDULE, NETWORK, 10, X_T, noise, eta, clip=True, rederive=not rederive)
    assert (ours("ddim", 10, clip, eta=eta) - expected).abs().max() < 1e-5
    assert (expected - other).abs().max() > 0.1
