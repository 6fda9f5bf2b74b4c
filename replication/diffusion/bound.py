"""The variational bound on -log p(x_0) in bits/dim: Ho et al. 2020, equations 5 and 13.

    L_T      KL(q(x_T|x_0) || N(0, I))
    L_{k-1}  KL(q(x_s|x_t,x_0) || p(x_s|x_t)),  t = k/T, s = (k-1)/T
    L_0      -log p(x_0|x_1), a Gaussian integrated over the bin of each of the 256 grey levels

At k = 1 the posterior has no variance, so the decoder's standard deviation is the one of k = 2 for fixed-small, and for
fixed-large too: that is the official code's replaced first entry, and not equation 13 to the letter.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from replication.diffusion.denoiser import Denoise, clipped
from replication.diffusion.forward import marginal, posterior, reverse_variance
from replication.diffusion.schedule import NoiseSchedule
from replication.types import Prediction, per_image

BIN = 1 / 255  # half the distance between two grey levels in [-1, 1]


def bound_term(
    denoise: Denoise, variance: str, x0: Tensor, x_t: Tensor, t: Tensor, cond: Tensor | None = None
) -> Tensor:
    """L_{k-1} at t = k/T for k = 1..T, in bits/dim, Float[B]; x0 and x_t: Float[B,C,H,W], t: Float[B]."""
    return term_of(denoise(x_t, t, cond), variance, denoise.schedule, x0, x_t, t)


def term_of(
    prediction: Prediction, variance: str, schedule: NoiseSchedule, x0: Tensor, x_t: Tensor, t: Tensor
) -> Tensor:
    """The same of an answer that is already there, for an objective that needs it twice."""
    s = (t.double() - 1 / schedule.T).clamp(min=0)
    true_mean, true_variance = posterior(schedule, x_t, x0, t, s)
    mean, _ = posterior(schedule, x_t, prediction.x0, t, s)
    first = t * schedule.T < 1.5
    log_variance = _log_variance(variance, prediction, true_variance, schedule, t, s, first)
    # at k = 1 the Gaussian term is not used; 1 stands in for its zero variance, so that no NaN reaches the gradient
    true_log = per_image(torch.where(first, 1.0, true_variance).log(), x0)
    kl = 0.5 * (log_variance - true_log - 1 + (true_log - log_variance).exp())
    kl = kl + 0.5 * (true_mean - mean).square() * (-log_variance).exp()
    nats = torch.where(per_image(first, x0).bool(), decoder_nll(x0, mean, log_variance), kl)
    return nats.flatten(1).mean(dim=1) / math.log(2)


def decoder_nll(x0: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """-log of the Gaussian's mass in each grey level's bin, in nats per pixel; the end bins reach to infinity."""
    scale = (-0.5 * log_variance).exp()
    upper = torch.special.ndtr((x0 - mean + BIN) * scale)
    lower = torch.special.ndtr((x0 - mean - BIN) * scale)
    mass = torch.where(x0 < -0.999, upper, torch.where(x0 > 0.999, 1 - lower, upper - lower))
    return -mass.clamp(min=1e-12).log()


def prior_term(schedule: NoiseSchedule, x0: Tensor) -> Tensor:
    """L_T in bits/dim, Float[B]."""
    one = torch.ones(1, dtype=torch.float64, device=x0.device)
    mean, variance = schedule.alpha(one).to(x0) * x0, schedule.sigma(one).to(x0) ** 2
    nats = 0.5 * (variance + mean.square() - 1 - variance.log())
    return nats.flatten(1).mean(dim=1) / math.log(2)


@torch.no_grad()
def bits_per_dim(
    denoise: Denoise,
    variance: str,
    x0: Tensor,
    noise: Callable[[int, torch.Size], Tensor],
    clip: str = "x0",
) -> Tensor:
    """The whole bound, Float[B], for images x0 in [-1, 1] on 256 grey levels: T network evaluations each.

    noise: `callable(k, shape)`, a draw for each k; clip as in `sample` (the papers clip x0). float64 throughout.
    """
    denoise, x0 = clipped(denoise, clip), x0.double()
    total = prior_term(denoise.schedule, x0)
    for k in range(1, denoise.schedule.T + 1):
        t = torch.full((len(x0),), k / denoise.schedule.T, dtype=torch.float64, device=x0.device)
        x_t = marginal(denoise.schedule, x0, t, noise(k, x0.shape).to(x0))
        total = total + bound_term(denoise, variance, x0, x_t, t)
    return total


def _log_variance(
    variance: str, p: Prediction, true_variance: Tensor, schedule: NoiseSchedule, t: Tensor, s: Tensor, first: Tensor
) -> Tensor:
    if variance == "learned":
        return reverse_variance(variance, p, true_variance, schedule, t, s).log()
    second = torch.full_like(t, 2 / schedule.T)
    _, at_second = posterior(schedule, p.x0, p.x0, second, second / 2)
    chosen = reverse_variance(variance, p, true_variance, schedule, t, s)
    return torch.where(per_image(first, p.x0).bool(), per_image(at_second, p.x0), chosen).log()
