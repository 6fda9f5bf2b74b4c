"""The hybrid objective and rectified flow: against the papers' formulas written out again, and in their gradients."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm
from torch import Tensor, nn
from training_recipes import recipe

from replication.diffusion import Denoiser
from replication.diffusion.bound import bound_term
from replication.diffusion.objective import Objective
from replication.diffusion.objectives.simple import Simple
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import OBJECTIVES, SCHEDULES
from replication.training.recipe import Recipe
from replication.training.train import train
from replication.types import InputError

T = 20
SCHEDULE = SCHEDULES.build("linear", T=T, beta_start=0.005, beta_end=0.5)
X0 = torch.randint(0, 256, (4, 1, 2, 2), generator=torch.Generator().manual_seed(0)).double() / 127.5 - 1
X0[0, 0, 0] = torch.tensor([-1.0, 1.0])  # both ends, whose bins are open
NOISE = torch.randn(X0.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
STEPS = torch.tensor([1, 2, 7, 20])


class TwoParts(nn.Module):
    """eps = a tanh(x) and v = b sin(3x), for parameters a and b."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.9, dtype=torch.float64))
        self.b = nn.Parameter(torch.tensor(0.8, dtype=torch.float64))

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None) -> Tensor:
        return torch.cat([self.a * torch.tanh(x), self.b * torch.sin(3 * x)], dim=1)


def loss(network: nn.Module, name: str, **options: float) -> Tensor:
    denoiser = Denoiser(network, SCHEDULE, variance="learned-range")
    answer: Tensor = OBJECTIVES.build(name, **options)(denoiser, X0, None, STEPS.double() / T, NOISE)
    return answer


def hybrid_in_numpy(weight: float) -> np.ndarray:
    """Nichol and Dhariwal 2021, equations 10 to 16, from the betas alone."""
    beta = SCHEDULE.betas.numpy()
    bar = np.cumprod(1 - beta)
    before = np.append(1.0, bar[:-1])
    tilde = beta * (1 - before) / (1 - bar)
    losses = []
    for x0, noise, i in zip(X0.numpy(), NOISE.numpy(), STEPS.numpy() - 1, strict=True):
        x_t = np.sqrt(bar[i]) * x0 + np.sqrt(1 - bar[i]) * noise
        eps, v = 0.9 * np.tanh(x_t), 0.8 * np.sin(3 * x_t)
        said = (x_t - np.sqrt(1 - bar[i]) * eps) / np.sqrt(bar[i])
        of_x0, of_xt = (
            np.sqrt(before[i]) * beta[i] / (1 - bar[i]),
            np.sqrt(1 - beta[i]) * (1 - before[i]) / (1 - bar[i]),
        )
        true_mean, mean = of_x0 * x0 + of_xt * x_t, of_x0 * said + of_xt * x_t
        share = (v + 1) / 2
        variance = np.exp(share * np.log(beta[i]) + (1 - share) * np.log(tilde[max(i, 1)]))
        if i:
            nats = 0.5 * (np.log(variance / tilde[i]) - 1 + tilde[i] / variance + (true_mean - mean) ** 2 / variance)
        else:
            upper = np.where(x0 == 1, 1.0, norm.cdf(x0 + 1 / 255, mean, np.sqrt(variance)))
            lower = np.where(x0 == -1, 0.0, norm.cdf(x0 - 1 / 255, mean, np.sqrt(variance)))
            nats = -np.log(np.maximum(upper - lower, 1e-12))
        losses.append(((eps - noise) ** 2).mean() + weight * T * nats.mean() / math.log(2))
    return np.array(losses)


def test_simple_l1_is_the_mean_absolute_error() -> None:
    """max-abs <= 1e-12 in float64. Catches the square, a sum over pixels, and the error of x0."""
    times = STEPS.double() / T
    alpha, sigma = (of(times).reshape(-1, 1, 1, 1) for of in (SCHEDULE.alpha, SCHEDULE.sigma))
    expected = (0.9 * torch.tanh(alpha * X0 + sigma * NOISE) - NOISE).abs().flatten(1).mean(1)
    assert (loss(TwoParts(), "simple-l1") - expected).abs().max() <= 1e-12


@pytest.mark.parametrize("weight", [0.001, 0.05])
def test_hybrid_is_equation_16_at_the_drawn_time(weight: float) -> None:
    """max-abs <= 1e-9 in float64, at k = 1 too. Catches nats for bits, a missing T, v in [0, 1], the variance's ends swapped,
    the mean's error in another space, and log-variances for learned-range.
    """
    answer = loss(TwoParts(), "hybrid", weight=weight).detach().numpy()
    assert np.abs(answer - hybrid_in_numpy(weight)).max() <= 1e-9


def test_the_default_weight_is_that_of_the_rescaled_loss() -> None:
    """Exact: T/1000 of the term, which is 1 at DiT's T. Catches a sum over T without its 0.001."""
    assert torch.equal(loss(TwoParts(), "hybrid"), loss(TwoParts(), "hybrid", weight=0.001))
    assert OBJECTIVES.build("hybrid").weight * 1000 == 1


def test_the_bound_trains_the_variance_and_the_simple_part_the_mean() -> None:
    """max-abs <= 1e-15 between the mean's two gradients, at every time. Catches a bound that trains the mean as well, and a
    variance that it does not reach.
    """
    for i in range(len(STEPS)):
        hybrid, simple = TwoParts(), TwoParts()
        loss(hybrid, "hybrid", weight=1.0)[i].backward()
        loss(simple, "simple")[i].backward()
        assert hybrid.a.grad is not None
        assert hybrid.b.grad is not None
        assert simple.a.grad is not None
        assert abs(hybrid.a.grad - simple.a.grad) <= 1e-15
        assert simple.b.grad is None or simple.b.grad == 0
        assert bool(hybrid.b.grad.isfinite())
        assert hybrid.b.grad != 0


def test_hybrid_has_a_finite_gradient_in_float32() -> None:
    """At k = 1 the posterior has no variance. Catches its logarithm reaching v's gradient."""
    network = TwoParts().float()
    denoiser = Denoiser(network, SCHEDULES.build("linear"), variance="learned-range")
    t = torch.tensor([1, 2, 500, 1000], dtype=torch.float64) / 1000
    OBJECTIVES.build("hybrid")(denoiser, X0.float(), None, t, NOISE.float()).sum().backward()
    assert network.b.grad is not None
    assert bool(network.b.grad.isfinite())
    assert network.b.grad != 0


def test_hybrid_asks_the_network_once() -> None:
    calls: list[int] = []
    network = TwoParts()
    network.register_forward_hook(lambda *_: calls.append(1))
    loss(network, "hybrid")
    assert len(calls) == 1


def flow_loss(parameterization: str, t: Tensor, network: object) -> Tensor:
    denoiser = Denoiser(network, SCHEDULES.build("flow"), parameterization)  # type: ignore[arg-type]
    answer: Tensor = OBJECTIVES.build("rectified-flow")(denoiser, X0, None, t, NOISE)
    return answer


def test_rectified_flow_is_the_squared_error_of_the_velocity() -> None:
    """max-abs <= 1e-9. Catches x0 - eps, a weight per time, a sum over pixels, and a timestep rounded to the grid."""
    t = torch.tensor([0.0123, 0.3, 0.71234, 0.99])
    timesteps = []

    def says(x: Tensor, timestep: Tensor, cond: Tensor | None) -> Tensor:
        timesteps.append(timestep)
        return torch.tanh(x)

    answer = flow_loss("velocity", t.double(), says)
    per = t.double()[:, None, None, None]
    target = NOISE - X0
    expected = (torch.tanh((1 - per) * X0 + per * NOISE) - target).square().flatten(1).mean(dim=1)
    assert (answer - expected).abs().max() <= 1e-9
    assert (timesteps[0] - 1000 * t.double()).abs().max() <= 1e-9


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-0.8, 0.5), (0.5, 2.0)])
def test_times_are_logit_normal(mean: float, std: float) -> None:
    """Kolmogorov-Smirnov at n = 4000, p > 1e-4. Catches uniform times, a grid of T, and std taken for the variance."""
    torch.manual_seed(0)
    t = OBJECTIVES.build("rectified-flow", mean=mean, std=std).draw_times(4000, SCHEDULE, torch.device("cpu"))
    assert t.dtype == torch.float64
    assert bool(((t > 0) & (t < 1)).all())
    assert kstest(t.logit().numpy(), norm(mean, std).cdf).pvalue > 1e-4
    assert len(t.unique()) == 4000


def test_an_objective_may_draw_times_by_the_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EDM's ln(sigma / alpha) ~ N(-1.2, 1.2^2) on any schedule. Catches a training that hands on no more than T."""
    drawn = []

    def log_normal(_: Objective, n: int, schedule: NoiseSchedule, device: torch.device) -> Tensor:
        lam = 1.2 - 1.2 * torch.randn(n, device=device, dtype=torch.float64)
        t = schedule.time_at(lam.clamp(min=float(schedule.half_log_snr(torch.ones(())))))
        drawn.append((lam, schedule.half_log_snr(t)))
        return t

    monkeypatch.setattr(Objective, "draw_times", log_normal)
    train(recipe(), tmp_path / "c.safetensors", torch.device("cpu"), progress=False)
    asked, seen = (torch.cat(values) for values in zip(*drawn, strict=True))
    inside = (seen - asked).abs() <= 1e-6
    assert inside.float().mean() > 0.5  # the rest lies beyond the schedule's ends


def test_options_that_train_nothing_are_refused() -> None:
    for name, options in (
        ("hybrid", {"weight": 0.0}),
        ("rectified-flow", {"std": 0.0}),
        ("hybrid", {"weight": float("nan")}),
    ):
        with pytest.raises(InputError, match="must be positive"):
            OBJECTIVES.build(name, **options)
    with pytest.raises(InputError, match="learned_variance"):
        OBJECTIVES.build("hybrid")(Denoiser(lambda x, *_: x, SCHEDULE), X0, None, STEPS / T, NOISE)


def with_objective(objective: str) -> Recipe:
    changed = recipe(network={"name": "ddpm-digits", "learned_variance": True}).model_dump()
    return Recipe.model_validate({**changed, "objective": objective})


def test_a_recipe_reads_the_variance_as_its_objective_trains_it() -> None:
    """Exact. Catches v sampled as if it were a log-variance: what is trained by one reading and sampled by another."""
    hybrid = with_objective("hybrid")
    hybrid.check()
    network = hybrid.build_network()
    t = torch.full((1,), 0.5, dtype=torch.float64)
    assert hybrid.build_denoiser(network)(torch.zeros(1, 1, 8, 8), t).is_range
    plain = recipe()
    assert not plain.build_denoiser(plain.build_network())(torch.zeros(1, 1, 8, 8), t).is_range
    assert "reading" not in json.dumps(plain.identity)


def test_hybrid_needs_twice_the_channels() -> None:
    with pytest.raises(InputError, match="trains 2; learned_variance doubles them"):
        Recipe.model_validate({**recipe().model_dump(), "objective": "hybrid"}).check()


class MeanOfTheBatch(Simple):
    """A wrong objective: one number for the batch."""

    def __call__(self, *arguments: Any) -> Tensor:
        return super().__call__(*arguments).mean()


class ForgetsItsChannels(Simple):
    """A wrong objective: it needs a learned variance, and does not declare it."""

    def __call__(self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Tensor:
        return bound_term(denoiser, "learned", x0, x0, t)


class DividesByAlpha(Simple):
    """A wrong objective for schedules that end without signal."""

    def __call__(self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Tensor:
        return super().__call__(denoiser, x0, cond, t, noise) / denoiser.schedule.alpha(t)


@pytest.mark.parametrize(
    ("objective", "schedule", "message"),
    [
        (MeanOfTheBatch(), "linear", "must be two finite numbers"),
        (ForgetsItsChannels(), "linear", "learned_variance"),
        (DividesByAlpha(), "flow", "must be two finite numbers"),
    ],
)
def test_an_objective_that_cannot_be_trained_is_refused_at_plan(
    objective: Simple, schedule: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a check that looks at the network alone: these would fail in the first step of training, or in a late one."""
    monkeypatch.setattr("replication.training.recipe._CHECKED", set())
    monkeypatch.setattr(Recipe, "build_objective", lambda _: objective)
    with pytest.raises(InputError, match=f"on schedule {schedule}.*{message}"):
        Recipe.model_validate({**recipe().model_dump(), "schedule": schedule, "parameterization": "v"}).check()
