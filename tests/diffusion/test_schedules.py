"""Every schedule: published endpoints, the contract and the inverse over the registry, exact ends, and each published rule
against an independent statement."""

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
    """max-abs <= 1e-12. Catches float32 tables, a table shifted by one or one entry short, an SNR that rises anywhere."""
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
        assert len(schedule.betas) == len(schedule.alphas_cumprod) == schedule.T == 1000
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
