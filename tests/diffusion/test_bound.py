"""The variational bound: against a direct computation in numpy, against itself as an objective, and as a distribution."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from replication.check.exact import GaussianDenoiser
from replication.diffusion import Denoiser
from replication.diffusion.bound import bits_per_dim, decoder_nll, prior_term
from replication.diffusion.schedule import DiscreteSchedule
from replication.noise import ImageNoise
from replication.registry import OBJECTIVES, SCHEDULES
from replication.types import InputError, Prediction

T = 20
SCHEDULE = SCHEDULES.build("linear", T=T, beta_start=0.005, beta_end=0.5)
X0 = torch.randint(0, 256, (3, 1, 2, 2), generator=torch.Generator().manual_seed(0)).double() / 127.5 - 1
X0[0, 0, 0] = torch.tensor([-1.0, 1.0])  # both ends, whose bins are open
NOISE = ImageNoise(0, torch.arange(3))


def direct(denoiser: GaussianDenoiser, variance: str, x0: np.ndarray) -> np.ndarray:
    """The bound in bits/dim per image, in numpy, from the betas alone: Ho et al. 2020, equations 5 to 8 and 13."""
    beta = SCHEDULE.betas.numpy()
    bar = np.cumprod(1 - beta)
    nats = 0.5 * (bar[-1] * x0**2 + (1 - bar[-1]) - 1 - np.log(1 - bar[-1]))
    for i in range(T):
        eps = NOISE(i + 1, x0.shape).double().numpy()
        x_t = np.sqrt(bar[i]) * x0 + np.sqrt(1 - bar[i]) * eps
        gain = np.sqrt(bar[i]) * denoiser.std**2 / (bar[i] * denoiser.std**2 + 1 - bar[i])
        guess = np.clip(denoiser.mean + gain * (x_t - np.sqrt(bar[i]) * denoiser.mean), -1, 1)
        before = bar[i - 1] if i else 1.0
        of_x0, of_xt = np.sqrt(before) * beta[i] / (1 - bar[i]), np.sqrt(1 - beta[i]) * (1 - before) / (1 - bar[i])
        mean, true = of_x0 * guess + of_xt * x_t, of_x0 * x0 + of_xt * x_t
        tilde = beta * (1 - np.append(1.0, bar[:-1])) / (1 - bar)
        model = (tilde if variance == "fixed-small" else beta)[i] if i else tilde[1]
        if i:
            nats = nats + 0.5 * (np.log(model / tilde[i]) - 1 + tilde[i] / model + (true - mean) ** 2 / model)
        else:
            law = norm(mean, np.sqrt(model))
            upper = np.where(x0 == 1, 1.0, law.cdf(x0 + 1 / 255))
            nats = nats - np.log(upper - np.where(x0 == -1, 0.0, law.cdf(x0 - 1 / 255)))
    return nats.reshape(len(x0), -1).mean(axis=1) / math.log(2)


@pytest.mark.parametrize("variance", ["fixed-large", "fixed-small"])
def test_bits_per_dim_equal_a_direct_computation(variance: str) -> None:
    """max-abs 1e-9. Catches nats, a sum over pixels, a decoder of variance beta_1, and a KL with its ends swapped."""
    denoiser = GaussianDenoiser(SCHEDULE)
    answer = bits_per_dim(denoiser, variance, X0, NOISE)
    assert np.abs(answer.numpy() - direct(denoiser, variance, X0.numpy())).max() <= 1e-9


def test_a_model_that_knows_the_image_pays_for_the_prior_and_the_decoder_alone() -> None:
    """max-abs 1e-12: with x0 given and the true variance every KL is 0. Catches a KL that does not vanish."""
    knows = type("Knows", (), {"schedule": SCHEDULE, "__call__": lambda self, x, t, cond=None: Prediction(X0, x)})()
    second = SCHEDULE.betas[1] * (1 - SCHEDULE.alphas_cumprod[0]) / (1 - SCHEDULE.alphas_cumprod[1])
    decoder = decoder_nll(X0, X0, second.log()).flatten(1).mean(dim=1) / math.log(2)
    answer = bits_per_dim(knows, "fixed-small", X0, NOISE)
    assert (answer - prior_term(SCHEDULE, X0) - decoder).abs().max() <= 1e-12


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.3), (-0.97, 0.01), (1.4, 0.5), (0.31, 0.002)])
def test_masses_of_the_256_levels_sum_to_one(mean: float, std: float) -> None:
    """max-abs 1e-9 (each is at least 1e-12). Catches bins of the wrong width, and ends that are not open."""
    levels = torch.arange(256, dtype=torch.float64).reshape(256, 1, 1, 1) / 127.5 - 1
    masses = (-decoder_nll(levels, torch.tensor(mean).double(), torch.tensor(2 * math.log(std)).double())).exp()
    assert abs(masses.sum() - 1) <= 1e-9


@pytest.mark.parametrize("variance", ["fixed-large", "fixed-small"])
def test_the_objective_summed_over_times_is_the_bound_without_its_prior(variance: str) -> None:
    """max-abs 1e-12 in float64. Catches the mean over T for the sum, and an objective with another L_0."""
    denoiser = Denoiser(lambda x, timestep, cond: torch.tanh(x), SCHEDULE)
    objective = OBJECTIVES.build("bound", variance=variance)
    total = prior_term(SCHEDULE, X0)
    for k in range(1, T + 1):
        t = torch.full((3,), k / T, dtype=torch.float64)
        total = total + objective(denoiser, X0, None, t, NOISE(k, X0.shape).double())
    assert (total - bits_per_dim(denoiser, variance, X0, NOISE, clip="none")).abs().max() <= 1e-12


def test_the_objective_has_a_finite_gradient_at_every_time_in_float32() -> None:
    """Catches NaN from the logarithm of the variance at k = 1, which is zero, reaching the gradient through where."""
    weight = torch.full((1,), 0.5, requires_grad=True)
    denoiser = Denoiser(lambda x, timestep, cond: weight * x, SCHEDULES.build("linear"))
    x0 = X0[:1].float().expand(4, 1, 2, 2)
    t = torch.tensor([1, 2, 3, 1000], dtype=torch.float64) / 1000
    OBJECTIVES.build("bound", variance="fixed-small")(denoiser, x0, None, t, torch.randn(4, 1, 2, 2)).sum().backward()
    assert weight.grad is not None
    assert bool(weight.grad.isfinite())
    assert bool(weight.grad != 0)


def test_a_learned_variance_equals_the_fixed_one_that_it_says() -> None:
    """max-abs 1e-9: a network that says log beta_t is fixed-large, but for L_0. Catches its being ignored."""

    def says(x: Tensor, timestep: Tensor, cond: Tensor | None) -> Tensor:
        log_beta = SCHEDULE.betas.log()[timestep.long()][:, None, None, None]
        return torch.cat([torch.tanh(x), log_beta.expand_as(x)], dim=1)

    t, noise = torch.full((3,), 0.5, dtype=torch.float64), torch.randn_like(X0)
    learned, fixed = (OBJECTIVES.build("bound", variance=v) for v in ("learned", "fixed-large"))
    denoiser = Denoiser(says, SCHEDULE)
    assert (learned(denoiser, X0, None, t, noise) - fixed(denoiser, X0, None, t, noise)).abs().max() <= 1e-9
    with pytest.raises(InputError, match="learned_variance"):
        learned(Denoiser(lambda x, timestep, cond: x, SCHEDULE), X0, None, t, noise)


@pytest.mark.parametrize("parameterization", ["eps", "x0", "v", "mean"])
def test_simple_is_the_mean_squared_error_of_what_the_network_says(parameterization: str) -> None:
    """max-abs 1e-9. Catches a sum over pixels (times 4 here) and an error measured in eps whatever is predicted."""
    objective, noise = OBJECTIVES.build("simple"), torch.randn_like(X0)
    t = torch.tensor([1, 7, 20], dtype=torch.float64) / T
    seen = []

    def says(x: Tensor, timestep: Tensor, cond: Tensor | None) -> Tensor:
        seen.append(x)
        return torch.tanh(x)

    loss = objective(Denoiser(says, SCHEDULE, parameterization), X0, None, t, noise)
    target = _targets(SCHEDULE, seen[0], noise, t)[parameterization]
    assert (loss - (torch.tanh(seen[0]) - target).square().mean(dim=(1, 2, 3))).abs().max() <= 1e-9


def _targets(schedule: DiscreteSchedule, x_t: Tensor, noise: Tensor, t: Tensor) -> dict[str, Tensor]:
    index = (t * T).round().long() - 1
    bar, beta = schedule.alphas_cumprod[index][:, None, None, None], schedule.betas[index][:, None, None, None]
    before = bar / (1 - beta)
    mean = (before.sqrt() * beta * X0 + (1 - beta).sqrt() * (1 - before) * x_t) / (1 - bar)
    return {"eps": noise, "x0": X0, "v": bar.sqrt() * noise - (1 - bar).sqrt() * X0, "mean": mean}
