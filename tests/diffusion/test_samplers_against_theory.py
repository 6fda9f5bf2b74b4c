"""Samplers against theory, and against each other: orders, exact moments, and the identities between published rules."""

import itertools

import numpy as np
import pytest
import torch

from oracles.gaussian import GaussianDenoiser
from oracles.moments import final_moments
from oracles.networks import SmallNetwork
from oracles.order import global_errors, slope
from replication.diffusion import Denoiser, sample
from replication.diffusion.forward import posterior, transition
from replication.noise import ImageNoise
from replication.registry import SAMPLERS, SCHEDULES, SPACINGS
from replication.types import InputError, Prediction

LINEAR = SCHEDULES.build("linear", T=1000)


def from_high_to_low(steps: int) -> torch.Tensor:
    """Even in t, off both ends, where every schedule is smooth."""
    return torch.linspace(0.8, 0.1, steps + 1, dtype=torch.float64)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "scaled_linear"])
def test_ddim_converges_to_the_probability_flow_at_its_declared_order(schedule: str) -> None:
    """Slope within 0.1 of the declared order. Catches alpha of the wrong time (slope 0), eps at the wrong time."""
    ddim, steps = SAMPLERS.build("ddim"), [20, 40, 80, 160]
    errors = global_errors(GaussianDenoiser(SCHEDULES.build(schedule)), ddim, from_high_to_low, steps)
    assert abs(slope(steps, errors) - ddim.order) <= 0.1
    assert errors[-1] < 0.02


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_one_step_of_ddim_is_off_by_the_square_of_the_step(schedule: str) -> None:
    """Local slope within 0.1 of order + 1. Catches an error that only cancels over a whole trajectory."""
    denoiser, ddim = GaussianDenoiser(SCHEDULES.build(schedule)), SAMPLERS.build("ddim")
    x, t = torch.full((1, 1, 1, 1), 1.7, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    parts, errors = [64, 128, 256], []
    for n in parts:
        s = t - 1 / n
        errors.append(
            float((ddim.step(denoiser, denoiser.schedule, x, t, s, None, None)[0] - denoiser.flow(x, t, s)).abs())
        )
    assert abs(slope(parts, errors) - (ddim.order + 1)) <= 0.1


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


@pytest.mark.parametrize(("name", "options"), [("ddim", {}), ("ddim", {"eta": 1.0}), ("ancestral", {})])
def test_a_repeated_time_is_an_identity_step(name: str, options: dict[str, float]) -> None:
    """max-abs 1e-12. Catches noise being added, or NaN, where the quadratic spacing repeats a time."""
    t, x = torch.tensor(0.004, dtype=torch.float64), torch.randn(1, 2, 3, 3, dtype=torch.float64)
    denoiser = Denoiser(SmallNetwork(), LINEAR)
    again = SAMPLERS.build(name, **options).step(denoiser, LINEAR, x, t, t, torch.ones_like(x), None)[0]
    assert (again - x).abs().max() <= 1e-12


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
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SAMPLERS.build(name, **options)
