"""The forward process and its posterior: Markov composition and Bayes' rule, by hand, on scalars."""

import itertools

import pytest
import torch

from replication.diffusion.forward import marginal, posterior, transition
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SCHEDULES

PAIRS = [(0.001, 0.002), (0.001, 1.0), (0.25, 0.26), (0.4, 0.9), (0.333, 0.777)]  # (s, t), on and off the grid


def at(time: float) -> torch.Tensor:
    return torch.tensor(time, dtype=torch.float64)


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_steps_of_q_compose_to_the_closed_form(name: str) -> None:
    """max-abs <= 1e-12 of the largest variance (ve: 6400) after 50 steps. Catches a transition variance of sigma_t^2 - sigma_s^2, or scale alpha_t."""
    schedule = SCHEDULES.build(name)
    times = torch.linspace(0, 1, 51, dtype=torch.float64)
    mean, variance = at(1.0), at(0.0)  # of x_t given x_0 = 1
    for s, t in itertools.pairwise(times):
        scale, added = transition(schedule, s, t)
        mean, variance = scale * mean, scale**2 * variance + added
        assert abs(mean - schedule.alpha(t)) <= 1e-12
        assert abs(variance - schedule.sigma(t) ** 2) <= 1e-12 * max(1.0, float(schedule.sigma(at(1.0))) ** 2)


def test_consecutive_transitions_have_the_betas_as_variance() -> None:
    """max-abs <= 1e-14. Catches a shift by one between t = k/T and betas[k - 1]."""
    schedule = SCHEDULES.build("linear")
    k = torch.arange(1, 1001, dtype=torch.float64)
    scale, variance = transition(schedule, (k - 1) / 1000, k / 1000)
    assert (variance - schedule.betas).abs().max() <= 1e-14
    assert (scale**2 - (1 - schedule.betas)).abs().max() <= 1e-14


def bayes(schedule: NoiseSchedule, x_t: float, x_0: float, t: float, s: float) -> tuple[float, float]:
    """q(x_s|x_t,x_0) from prior N(alpha_s x_0, sigma_s^2) and likelihood N(x_t; r x_s, w), by adding precisions."""
    r = float(schedule.alpha(at(t)) / schedule.alpha(at(s)))
    w = float(schedule.sigma(at(t)) ** 2 - r**2 * schedule.sigma(at(s)) ** 2)
    prior = float(schedule.sigma(at(s)) ** 2)
    precision = 1 / prior + r**2 / w
    return (float(schedule.alpha(at(s))) * x_0 / prior + r * x_t / w) / precision, 1 / precision


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_posterior_is_bayes_rule(name: str) -> None:
    """max-abs <= 1e-11 (the hand-made precision loses digits). Catches swapped coefficients and beta_t as variance."""
    schedule = SCHEDULES.build(name)
    x_t, x_0 = torch.full((1, 1, 1, 1), 0.7, dtype=torch.float64), torch.full((1, 1, 1, 1), -0.4, dtype=torch.float64)
    for s, t in PAIRS:
        mean, variance = posterior(schedule, x_t, x_0, at(t), at(s))
        expected_mean, expected_variance = bayes(schedule, 0.7, -0.4, t, s)
        assert abs(float(mean) - expected_mean) <= 1e-11
        assert abs(float(variance) - expected_variance) <= 1e-11


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_posterior_at_the_two_ends(name: str) -> None:
    """Exact at s = 0: the mean is x_0 and nothing is left to draw. At s = t it is x_t. Catches NaN from lam = inf."""
    schedule, x_t, x_0 = SCHEDULES.build(name), torch.full((1, 1, 2, 2), 3.0).double(), torch.rand(1, 1, 2, 2).double()
    mean, variance = posterior(schedule, x_t, x_0, at(0.5), at(0.0))
    assert torch.equal(mean, x_0)
    assert variance == 0
    mean, variance = posterior(schedule, x_t, x_0, at(0.5), at(0.5))
    assert (mean - x_t).abs().max() <= 1e-15
    assert variance == 0


def test_marginal_takes_one_time_per_image() -> None:
    """max-abs <= 1e-15. Catches broadcasting the times over the width instead of the batch."""
    schedule = SCHEDULES.build("linear")
    x_0, noise = torch.randn(2, 3, 2, 2).double(), torch.randn(2, 3, 2, 2).double()
    t = torch.tensor([0.1, 0.9], dtype=torch.float64)
    both = marginal(schedule, x_0, t, noise)
    for i in range(2):
        one = schedule.alpha(t[i]) * x_0[i] + schedule.sigma(t[i]) * noise[i]
        assert (both[i] - one).abs().max() <= 1e-15
