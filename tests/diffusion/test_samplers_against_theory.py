"""Samplers against theory, and against each other: exact moments, and the identities between published rules."""

import itertools

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from replication.check.exact import GaussianDenoiser, final_moments
from replication.check.models import SmallNetwork
from replication.diffusion import Denoiser, sample
from replication.diffusion.exponential import moments
from replication.diffusion.forward import posterior, transition
from replication.noise import ImageNoise
from replication.registry import SAMPLERS, SCHEDULES, SPACINGS
from replication.types import InputError, Prediction

LINEAR = SCHEDULES.build("linear", T=1000)


@pytest.mark.parametrize("variance", ["fixed-large", "fixed-small"])
@pytest.mark.parametrize("steps", [10, 100, 1000])
def test_variance_of_ancestral_samples(variance: str, steps: int) -> None:
    """max-abs 1e-9 against Ho et al.'s formulae in the betas. Catches a lost noise term and a repeated one."""
    std, times = 0.5, SPACINGS.build("uniform")(LINEAR, steps)
    bars = np.append(LINEAR.alphas_cumprod.numpy()[(times[:-1] * 1000 - 1).round().long().numpy()], 1.0)
    mean, var = 0.0, 1.0
    for i, (bar, previous) in enumerate(itertools.pairwise(bars)):
        alpha, beta = bar / previous, 1 - bar / previous
        gain = np.sqrt(bar) * std**2 / (bar * std**2 + 1 - bar)  # E[x0|x_t] = mu + gain (x_t - sqrt(bar) mu)
        shift = 0.3 * (1 - gain * np.sqrt(bar))
        of_x0, of_xt = np.sqrt(previous) * beta / (1 - bar), np.sqrt(alpha) * (1 - previous) / (1 - bar)
        added = beta if variance == "fixed-large" else beta * (1 - previous) / (1 - bar)
        mean, var = of_x0 * shift + (of_x0 * gain + of_xt) * mean, (of_x0 * gain + of_xt) ** 2 * var
        var += added if i < steps - 1 else 0.0
    answer = final_moments(GaussianDenoiser(LINEAR, 0.3, std), SAMPLERS.build("ancestral", variance=variance), times)
    assert abs(answer[0] - mean) <= 1e-9
    assert abs(answer[1] - var) <= 1e-9


def test_ancestral_samples_approach_the_data_as_steps_grow() -> None:
    """Ratio to the true variance within 0.02 at 1000 steps, worse at 10. Catches a process that keeps other moments."""
    ratios = []
    for steps in (10, 100, 1000):
        moments = final_moments(
            GaussianDenoiser(LINEAR), SAMPLERS.build("ancestral"), SPACINGS.build("uniform")(LINEAR, steps)
        )
        ratios.append(moments[1] / 0.25)
    assert abs(ratios[2] - 1) < 0.02
    assert abs(ratios[2] - 1) < abs(ratios[1] - 1) < abs(ratios[0] - 1)
    assert abs(moments[0] - 0.3) < 1e-3


def test_ddim_with_eta_one_on_every_step_is_ancestral_fixed_small() -> None:
    """max-abs 1e-8 in float64, values of order 100. Catches eta times the wrong standard deviation, or a lost noise."""
    denoiser, indices = Denoiser(SmallNetwork(), LINEAR), ImageNoise(1, torch.arange(2))
    times, x_T = SPACINGS.build("uniform")(LINEAR, 1000), indices.prior((2, 2, 4, 4)).double()
    ddim = sample(denoiser, SAMPLERS.build("ddim", eta=1.0), times, x_T, indices)
    ancestral = sample(denoiser, SAMPLERS.build("ancestral", variance="fixed-small"), times, x_T, indices)
    assert (ddim - ancestral).abs().max() <= 1e-8


@pytest.mark.parametrize("name", ["dpm_1", "euler", "dpmpp_2m", "dpmpp_3m", "dpmpp_2m_sde", "lms", "unipc"])
@pytest.mark.parametrize("schedule", ["linear", "ve", "flow"])
def test_the_first_step_of_these_is_ddim(name: str, schedule: str) -> None:
    """max-abs 1e-12. Catches a first step that takes a past value from nowhere, and h of the wrong sign."""
    on, eta = SCHEDULES.build(schedule), {"eta": 1.0} if name == "dpmpp_2m_sde" else {}
    denoiser, t, s = GaussianDenoiser(on), *torch.tensor([0.7, 0.4], dtype=torch.float64)
    x, z = torch.linspace(-2, 2, 6, dtype=torch.float64).reshape(6, 1, 1, 1), torch.ones(6, 1, 1, 1).double()
    sampler = SAMPLERS.build(name)
    noise = z if sampler.stochastic else None
    first, _ = sampler.step(denoiser, on, x, t, s, noise, sampler.init(torch.stack([t, s, s / 2])))
    ddim, _ = SAMPLERS.build("ddim", **eta).step(denoiser, on, x, t, s, noise, None)
    assert (first - ddim).abs().max() <= 1e-12


@pytest.mark.parametrize("z", [-40.0, -3.0, -1.0, -0.7, -1e-4, 0.0, 0.4, 2.5])
def test_moments_of_the_exponential_weight(z: float) -> None:
    """max-abs 1e-12 against quadrature. Catches cancellation near z = 0, a series that stops early, a lost factorial."""

    def integral(power: int) -> float:
        return quad(lambda r: r**power * np.exp((1 - r) * z - max(z, 0)), 0, 1, epsabs=1e-15, epsrel=1e-13)[0]

    expected = [integral(i) / integral(0) for i in (1, 2, 3)]
    assert np.abs(np.subtract(moments(z, 3), expected)).max() <= 1e-12
    assert moments(-np.inf, 2) == [1.0, 1.0]


def test_2m_sde_without_noise_is_2m_and_churn_without_churn_is_none() -> None:
    """max-abs 1e-12. Catches eta 0 that still damps or divides by zero, and noise drawn for nothing."""
    times, x_T = SPACINGS.build("uniform")(LINEAR, 8), ImageNoise(1, torch.arange(2)).prior((2, 2, 4, 4)).double()
    denoiser = Denoiser(SmallNetwork(), LINEAR)
    sde = sample(denoiser, SAMPLERS.build("dpmpp_2m_sde", eta=0.0), times, x_T)
    assert (sde - sample(denoiser, SAMPLERS.build("dpmpp_2m"), times, x_T)).abs().max() <= 1e-12
    assert not SAMPLERS.build("heun", S_churn=0.0).stochastic


def test_heun_is_edms_algorithm_1() -> None:
    """max-abs 1e-12 against the paper's lines, in sigma alone. Catches the correction at sigma = 0 and a lost half."""
    schedule = SCHEDULES.build("ve", sigma_max=10.0)
    denoiser, times = GaussianDenoiser(schedule), torch.tensor([1.0, 0.3, 0.05, 0.0], dtype=torch.float64)
    x_T = torch.linspace(-20, 20, 5, dtype=torch.float64).reshape(5, 1, 1, 1)
    x, sigmas = x_T, (10 * times).tolist()

    def derivative(x: torch.Tensor, sigma: float) -> torch.Tensor:
        return (x - denoiser(x, torch.tensor(sigma / 10, dtype=torch.float64)).x0) / sigma

    for sigma, following in itertools.pairwise(sigmas):
        d = derivative(x, sigma)
        x_s = x + (following - sigma) * d
        x = x_s if following == 0 else x + (following - sigma) * (d / 2 + derivative(x_s, following) / 2)
    assert (sample(denoiser, SAMPLERS.build("heun"), times, x_T) - x).abs().max() <= 1e-12


@pytest.mark.parametrize("name", ["heun", "euler"])
def test_churn_is_edms_algorithm_2(name: str) -> None:
    """max-abs 1e-12 against the paper's lines 4 to 6. Catches S_noise on the variance, and limits that are not applied."""
    schedule = SCHEDULES.build("ve", sigma_max=10.0)
    denoiser, times = GaussianDenoiser(schedule), torch.tensor([0.9, 0.5, 0.2, 0.05], dtype=torch.float64)
    options = {"S_churn": 0.9, "S_tmin": 3.0, "S_tmax": 8.0, "S_noise": 1.1}  # gamma 0.3, at sigma 5 only
    x_T, z = torch.linspace(-20, 20, 5, dtype=torch.float64).reshape(5, 1, 1, 1), torch.ones(5, 1, 1, 1).double()
    x, plain = x_T, SAMPLERS.build(name)
    for t, s, gamma in zip(times[:-1], times[1:], [0.0, 0.3, 0.0], strict=True):
        raised = x + 1.1 * ((10 * t * (1 + gamma)) ** 2 - (10 * t) ** 2).sqrt() * z
        x, _ = plain.step(denoiser, schedule, raised, t * (1 + gamma), s, None, 0.0)
    answer = sample(denoiser, SAMPLERS.build(name, **options), times, x_T, lambda i, shape: z)
    assert (answer - x).abs().max() <= 1e-12


def test_churn_stays_within_the_schedule() -> None:
    """At t = 1 there is no more noise to go back to. Catches a network asked for times beyond its training."""
    asked, denoiser = [], GaussianDenoiser(LINEAR)

    class Watching(GaussianDenoiser):
        def __call__(self, x_t: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | None = None) -> Prediction:
            asked.append(float(t))
            return denoiser(x_t, t)

    times = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    z = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    sample(Watching(LINEAR), SAMPLERS.build("euler", S_churn=1.0), times, z, lambda i, shape: z)
    assert asked[0] == 1.0
    assert 0.5 < asked[1] < 1.0


@pytest.mark.parametrize(
    ("steps", "lower", "orders"),
    [
        (9, "below-10", [1, 2, 3, 3, 3, 3, 3, 2, 1]),
        (10, "below-10", [1, 2, 3, 3, 3, 3, 3, 3, 3, 3]),
        (14, "below-15", [1, 2, *[3] * 10, 2, 1]),
        (9, "at-zero", [1, 2, *[3] * 7]),
        (20, "always", [1, 2, *[3] * 16, 2, 1]),
    ],
)
def test_the_last_steps_are_of_lower_order_when_asked(steps: int, lower: str, orders: list[int]) -> None:
    """Exact: how many values each step uses. Catches thresholds off by one, and lowering where nobody asked."""
    sampler, used = SAMPLERS.build("dpmpp_3m", lower_order_final=lower), []
    times = torch.linspace(0.9, 0.1, steps + 1, dtype=torch.float64)
    denoiser, x, state = GaussianDenoiser(LINEAR), torch.ones(1, 1, 1, 1).double(), sampler.init(times)
    for t, s in itertools.pairwise(times):
        x, state = sampler.step(denoiser, LINEAR, x, t, s, None, state)
        used.append(len(state.nodes))
    assert used == orders


def test_sigma_hat_is_ancestral_fixed_large_on_a_subset() -> None:
    """max-abs 1e-13: the DDIM paper's sigma-hat^2 is 1 - bar_t/bar_s. Catches (1 - bar_s)/(1 - bar_t) being kept."""
    times = SPACINGS.build("quadratic")(LINEAR, 20)
    t, s = times[:-2], times[1:-1]
    published = 1 - (LINEAR.alpha(t) / LINEAR.alpha(s)) ** 2
    assert (transition(LINEAR, s, t)[1] - published).abs().max() <= 1e-13
    step = SAMPLERS.build("ancestral", variance="fixed-large").step
    zero, one = torch.zeros(1, 1, 1, 1).double(), torch.ones(1, 1, 1, 1).double()

    def nothing(x: torch.Tensor, t: torch.Tensor) -> Prediction:
        return Prediction(zero, x)

    for a, b, variance in zip(t, s, published, strict=True):
        assert abs(step(nothing, LINEAR, zero, a, b, one, None)[0] ** 2 - variance) <= 1e-13


def test_x0_is_clipped_before_the_mean_is_made_of_it() -> None:
    """max-abs 1e-12 at a point where x0 is 30. Catches clipping the mean instead: it would be at least 0.3 away."""
    t, s = torch.tensor(0.9, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
    x = torch.full((1, 1, 1, 1), 2.0, dtype=torch.float64)
    denoiser = Denoiser(lambda x, timestep, cond: torch.zeros_like(x), LINEAR)
    assert denoiser(x, t).x0 > 10
    zero = torch.zeros_like(x)
    answer = sample(denoiser, SAMPLERS.build("ancestral"), torch.stack([t, s]), x, lambda i, shape: zero, clip="x0")
    before, after = posterior(LINEAR, x, x / x, t, s)[0], posterior(LINEAR, x, denoiser(x, t).x0, t, s)[0].clamp(-1, 1)
    assert (answer - before).abs().max() <= 1e-12
    assert (before - after).abs().max() > 0.3


def test_a_learned_variance_is_the_one_used() -> None:
    """max-abs 1e-12. Catches exp(log_var) taken as a standard deviation, and silence where there is none to use."""
    t, s = torch.tensor([0.5, 0.4], dtype=torch.float64)
    x = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    learned = SAMPLERS.build("ancestral", variance="learned")

    def denoise(x: torch.Tensor, t: torch.Tensor) -> Prediction:
        return Prediction(torch.zeros_like(x), x, torch.full_like(x, -2.0))

    assert (learned.step(denoise, LINEAR, x, t, s, torch.ones_like(x), None)[0] - np.exp(-1.0)).abs().max() <= 1e-12
    with pytest.raises(InputError, match="learned_variance"):
        sample(GaussianDenoiser(LINEAR), learned, torch.stack([t, s]), x, lambda i, shape: x)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ddim", {"eta": 1.5}, r"eta must be in \[0, 1\], not 1.5"),
        ("ddim", {"eta": -0.1}, "eta must be"),
        ("ddim", {"eta": float("nan")}, "eta must be"),
        ("ancestral", {"variance": "fixedlarge"}, "did you mean 'fixed-large'"),
        ("heun", {"S_churn": -1.0}, "S_churn must not be negative, not -1.0"),
        ("euler", {"S_noise": float("nan")}, "S_noise must not be negative"),
        ("dpmpp_2m", {"lower_order_final": "below-16"}, "did you mean 'below-15'"),
        ("dpmpp_2m_sde", {"eta": -0.5}, "eta must not be negative"),
        ("dpmpp_3m", {"weights": "publishd"}, "did you mean 'published'"),
        ("lms", {"order": 5}, "order must be 1, 2, 3 or 4"),
        ("unipc", {"order": 4}, "order must be 1, 2 or 3"),
        ("unipc", {"variant": "bh3"}, "did you mean 'bh"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SAMPLERS.build(name, **options)
