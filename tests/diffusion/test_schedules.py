"""Schedules: published endpoints, an independent statement of the betas, and the contract over the whole registry."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from replication.diffusion.schedule import DiscreteSchedule
from replication.registry import SCHEDULES
from replication.types import InputError


@pytest.mark.parametrize(("name", "last", "atol"), [("linear", 4.0e-5, 5e-7), ("cosine", 2.4e-9, 5e-11)])
def test_published_last_alpha_bar(name: str, last: float, atol: float) -> None:
    """To the published digits. Catches beta_end 0.01, betas scaled with T, and a cosine without its cap."""
    assert abs(float(SCHEDULES.build(name, T=1000).alphas_cumprod[-1]) - last) <= atol


@pytest.mark.parametrize(("ends", "expected"), [((0.00085, 0.012), 14.6), ((0.0015, 0.0195), 83.8)])
def test_published_largest_noise_of_scaled_linear(ends: tuple[float, float], expected: float) -> None:
    """sigma/alpha to 0.05. Catches linear betas (157 and more) and squaring the ends instead of rooting them."""
    schedule = SCHEDULES.build("scaled_linear", beta_start=ends[0], beta_end=ends[1])
    one = torch.ones((), dtype=torch.float64)
    assert abs(float(schedule.sigma(one) / schedule.alpha(one)) - expected) <= 0.05


@pytest.mark.parametrize(
    ("name", "theirs", "ends"),
    [
        ("linear", "linear", (1e-4, 0.02)),
        ("scaled_linear", "scaled_linear", (0.00085, 0.012)),
        ("cosine", "squaredcos_cap_v2", ()),
    ],
)
def test_betas_equal_those_of_diffusers(name: str, theirs: str, ends: tuple[float, ...]) -> None:
    """max-abs <= 1e-7: diffusers keeps float32. Catches excluded endpoints (1e-5 off) and s = 0 in the cosine."""
    options = dict(zip(("beta_start", "beta_end"), ends, strict=False))
    peer = DDPMScheduler(num_train_timesteps=1000, beta_schedule=theirs, **options)
    assert (SCHEDULES.build(name, T=1000).betas - peer.betas.double()).abs().max() <= 1e-7


def test_quadratic_is_another_name_of_scaled_linear() -> None:
    assert torch.equal(SCHEDULES.build("quadratic").betas, SCHEDULES.build("scaled_linear").betas)


def test_cosine_caps_exactly_one_beta() -> None:
    """At T = 1000 and 4000. Catches a cap that also bites elsewhere, or does not bite."""
    for T in (1000, 4000):
        assert int((SCHEDULES.build("cosine", T=T).betas == 0.999).sum()) == 1


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_every_schedule_keeps_the_contract(name: str) -> None:
    """max-abs <= 1e-12. Catches float32 tables, a table shifted by one, an SNR that rises anywhere."""
    schedule = SCHEDULES.build(name)
    t = torch.linspace(0, 1, 4001, dtype=torch.float64)
    alpha, sigma, lam = schedule.alpha(t), schedule.sigma(t), schedule.half_log_snr(t)
    assert {a.dtype for a in (alpha, sigma, lam, schedule.timestep(t))} == {torch.float64}
    assert (alpha[0], sigma[0], lam[0]) == (1, 0, math.inf)
    assert bool((lam.diff() < 0).all())
    assert (lam[1:-1] - (alpha[1:-1] / sigma[1:-1]).log()).abs().max() <= 1e-9  # at t = 1 it may be -inf
    for shape in ((), (3,), (2, 2)):
        assert schedule.alpha(torch.full(shape, 0.5)).shape == shape
    if isinstance(schedule, DiscreteSchedule):
        assert (alpha**2 + sigma**2 - 1).abs().max() <= 1e-12
        k = torch.arange(1, schedule.T + 1, dtype=torch.float64)
        assert torch.equal(schedule.timestep(k / schedule.T), k - 1)
        assert torch.equal(schedule.timestep(k / schedule.T - 1 / schedule.T), k - 2)  # s = t - 1/T, rounded twice
        bars = torch.from_numpy(np.cumprod(1 - schedule.betas.numpy()))
        assert (schedule.alpha(k / schedule.T) ** 2 - bars).abs().max() <= 1e-12


def test_log_alpha_is_linear_between_grid_points_and_exact_on_them() -> None:
    """max-abs <= 1e-14. Catches nearest-neighbour look-up, and k/T times T taken as it is rounded."""
    schedule = SCHEDULES.build("linear", T=49)  # 1/49 times 49 is not 1 in floating point
    k = torch.arange(50, dtype=torch.float64)
    assert torch.equal(schedule.timestep(k / 49), k - 1)
    on = torch.cat([torch.zeros(1), 0.5 * torch.log1p(-schedule.betas).cumsum(0)])
    assert (schedule.log_alpha(k / 49) - on).abs().max() <= 1e-14
    quarter = schedule.log_alpha((k[:-1] + 0.25) / 49)
    assert (quarter - (0.75 * on[:-1] + 0.25 * on[1:])).abs().max() <= 1e-14


@pytest.mark.parametrize("T", [0, -1, 2.0, True, "1000"])
def test_a_bad_number_of_steps_is_refused(T: object) -> None:
    message = r"T must be a positive whole number|option 'T': input should be a valid integer"
    for name in SCHEDULES.names():
        with pytest.raises(InputError, match=message):
            SCHEDULES.build(name, T=T)


@pytest.mark.parametrize("ends", [(0.0, 0.02), (1e-4, 1.0), (-1e-4, 0.02), (1e-4, math.nan)])
def test_betas_outside_the_open_interval_are_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        SCHEDULES.build("linear", beta_start=ends[0], beta_end=ends[1])
