"""Every schedule: the inverse over the registry, exact ends, and each published rule against an independent statement."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

from replication.diffusion.schedule import DiscreteSchedule
from replication.registry import SCHEDULES
from replication.types import InputError

ONE = torch.ones((), dtype=torch.float64)
NO_SIGNAL = ("flow", "jsd", "zero_terminal_snr")  # at t = 1
EXTRA = [("zero_terminal_snr", {"base": {"name": "linear", "beta_end": 0.03}, "T": 7}), ("ve", {"sigma_max": 2.0}),
         ("cosine", {"T": 5}), ("jsd", {"T": 2}), ("linear", {"T": 1})]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), [(name, {}) for name in SCHEDULES.names()] + EXTRA)
def test_time_at_is_the_inverse_of_half_log_snr(name: str, options: dict) -> None:
    """max-abs <= 1e-10, on the grid, between its points, and at both ends, infinite ones too.

    Catches interpolating lam instead of log alpha, a table that is off by one, and the ends of an interval swapped.
    """
    schedule = SCHEDULES.build(name, **options)
    grid = torch.arange(schedule.T + 1, dtype=torch.float64) / schedule.T
    t = torch.cat([grid, torch.linspace(0, 1, 1237, dtype=torch.float64), torch.tensor([1e-7, 1 - 1e-7]).double()])
    assert (schedule.time_at(schedule.half_log_snr(t)) - t).abs().max() <= 1e-10
    lam = schedule.half_log_snr(torch.tensor([1e-3, 0.6], dtype=torch.float64)[None].expand(2, 2))
    assert (schedule.half_log_snr(schedule.time_at(lam)) - lam).abs().max() <= 1e-10


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_ends_are_exact(name: str) -> None:
    """Exact. Catches a half_log_snr that is large where no signal is left, and sampling of VP that scales its noise."""
    schedule = SCHEDULES.build(name)
    assert (schedule.half_log_snr(ONE) == -math.inf) == (schedule.alpha(ONE) == 0)
    betas = isinstance(schedule, DiscreteSchedule)
    assert schedule.prior_std(ONE / 2) == (1 if betas else schedule.sigma(ONE / 2))
    assert schedule.prior_std(ONE) == (1 if betas else schedule.sigma(ONE))


def test_pure_noise_is_where_it_is_promised() -> None:
    """Exact. Catches a rest of signal in a schedule that promises none, and the other way round."""
    for name in NO_SIGNAL:
        assert SCHEDULES.build(name).alpha(ONE) == 0, name
    for name in ("linear", "scaled_linear", "cosine", "sigmoid", "const", "ve"):
        assert SCHEDULES.build(name).alpha(ONE) > 0, name
    assert SCHEDULES.build("ve").sigma(ONE) == 80
    assert SCHEDULES.build("flow").prior_std(ONE) == 1


@pytest.mark.parametrize("name", [name for name in SCHEDULES.names() if SCHEDULES.build(name).alpha(ONE) > 0])
def test_a_ratio_that_the_schedule_does_not_reach_is_refused(name: str) -> None:
    """Catches a silent clamp to t = 1."""
    schedule = SCHEDULES.build(name)
    with pytest.raises(InputError, match="beyond t = 1"):
        schedule.time_at(schedule.half_log_snr(ONE) - 0.1)


def test_betas_of_the_official_ddpm_code() -> None:
    """max-abs <= 1e-15, each stated in numpy. Catches beta_start in const, a warm-up without its top, jsd up to 1/2."""
    for T in (1000, 37):
        expected = {"const": np.full(T, 0.02), "jsd": np.array([1 / (T - k) for k in range(T)])}
        for name, share in (("warmup10", 10), ("warmup50", 2)):
            climb = T // share
            steps = np.arange(T)
            expected[name] = np.where(steps < climb, 1e-4 + (0.02 - 1e-4) * steps / (climb - 1), 0.02)
        for name, betas in expected.items():
            assert np.abs(SCHEDULES.build(name, T=T).betas.numpy() - betas).max() <= 1e-15, name


def test_jsd_is_a_straight_line_of_alpha_bar() -> None:
    """max-abs <= 1e-12. Catches a cumulative product that is shifted by one, and a last alpha_bar above 0."""
    bars = SCHEDULES.build("jsd", T=50).alphas_cumprod
    assert (bars - (50 - torch.arange(1, 51).double()) / 50).abs().max() <= 1e-12
    assert bars[-1] == 0


def test_sigmoid_alpha_bar() -> None:
    """max-abs <= 1e-12 off the cap: sigmoid in tanh's form. Catches sigmoid betas, tau on one side, and no cap."""
    schedule = SCHEDULES.build("sigmoid", T=400, tau=0.7)
    u = np.arange(1, 401) / 400
    line, top = np.tanh((-3 + 6 * u) / 1.4), np.tanh(3 / 1.4)
    assert np.abs(schedule.alphas_cumprod.numpy() - (top - line) / (2 * top))[:-1].max() <= 1e-12
    assert schedule.betas[-1] == 0.999


def test_sigmoid_beta_is_what_diffusers_calls_sigmoid() -> None:
    """max-abs <= 1e-7: diffusers keeps float32. Catches the sigmoid of alpha_bar, and a range other than [-6, 6]."""
    peer = DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02, beta_schedule="sigmoid")
    assert (SCHEDULES.build("sigmoid_beta").betas - peer.betas.double()).abs().max() <= 1e-7


@pytest.mark.parametrize("base", ["linear", "scaled_linear", "cosine"])
def test_zero_terminal_snr_is_algorithm_1(base: str) -> None:
    """max-abs <= 1e-12 against diffusers' own, in float64. Catches a shift of alpha_bar instead of its root, no rescale."""
    schedule, before = SCHEDULES.build("zero_terminal_snr", base=base), SCHEDULES.build(base)
    assert (schedule.betas - rescale_zero_terminal_snr(before.betas)).abs().max() <= 1e-12
    assert schedule.alphas_cumprod[-1] == 0
    assert abs(schedule.alphas_cumprod[0] - before.alphas_cumprod[0]) <= 1e-15


def test_the_last_interval_without_signal_is_linear_in_alpha() -> None:
    """max-abs <= 1e-15. Catches alpha that is 0 on the whole interval, or not continuous at its beginning."""
    schedule = SCHEDULES.build("jsd", T=4)
    t = torch.tensor([0.75, 0.8125, 0.875, 1.0], dtype=torch.float64)
    assert (schedule.alpha(t) - 0.5 * torch.tensor([1, 0.75, 0.5, 0])).abs().max() <= 1e-15


def test_ve_and_flow_are_their_papers() -> None:
    """max-abs <= 1e-15. Catches sigma_min at t = 0, log10 or no 1/4 in c_noise, time that runs from noise to data."""
    t = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    ve, flow = SCHEDULES.build("ve"), SCHEDULES.build("flow")
    assert ve.sigma(t).tolist() == [0, 20, 80]
    assert (ve.timestep(t[1:]) - torch.tensor([math.log(20) / 4, math.log(80) / 4])).abs().max() <= 1e-7
    assert flow.alpha(t).tolist() == [1, 0.75, 0]
    assert flow.timestep(t).tolist() == [0, 250, 1000]


def test_bad_options_are_refused() -> None:
    for name, options, message in (
        ("zero_terminal_snr", {"base": "ve"}, "only a discrete schedule"),
        ("zero_terminal_snr", {"base": "linaer"}, "did you mean 'linear'"),
        ("zero_terminal_snr", {"base": {"name": "linear", "T": 10}}, "T is an option of zero_terminal_snr"),
        ("zero_terminal_snr", {"T": 1}, "two steps or more"),
        ("jsd", {"T": 1}, "at least two betas"),
        ("ve", {"sigma_max": 0.0}, "sigma_max must be positive"),
        ("sigmoid", {"start": 3.0}, "start < end"),
        ("const", {"beta": 1.0}, "between 0 and 1"),
    ):
        with pytest.raises(InputError, match=message):
            SCHEDULES.build(name, **options)


def test_discrete_ones_answer_on_the_whole_grid() -> None:
    """max-abs <= 1e-12 between alpha at k/T and the table. Catches a zero-terminal table that is one entry short."""
    for name in SCHEDULES.names():
        schedule = SCHEDULES.build(name)
        if isinstance(schedule, DiscreteSchedule):
            k = torch.arange(1, 1001, dtype=torch.float64)
            assert len(schedule.betas) == len(schedule.alphas_cumprod) == schedule.T == 1000
            assert (schedule.alpha(k / 1000) ** 2 - schedule.alphas_cumprod).abs().max() <= 1e-12
            assert torch.equal(schedule.timestep(k / 1000), k - 1)
