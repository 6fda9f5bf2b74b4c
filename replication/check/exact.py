"""Data whose denoiser and probability flow are known, Gaussians and finite sets of points, and orders of convergence by them.

`flow(x_t, t, s)` is where the probability-flow ODE takes x_t by time s: what deterministic samplers approach.

For N(mean, std^2 I), with v = alpha^2 std^2 + sigma^2:

    x_t ~ N(alpha mean, v I)
    E[x_0|x_t] = mean + (alpha std^2 / v) (x_t - alpha mean)
    E[eps|x_t] = (sigma / v) (x_t - alpha mean)
    the flow keeps (x_t - alpha mean) / sqrt(v) constant

For K equally likely points p_k:

    E[x_0|x_t] = sum_k w_k p_k,   w = softmax(-|x_t - alpha p_k|^2 / (2 sigma^2))
    in y = x/alpha and u = half_log_snr the flow is dy/du = x0 - y, solved numerically

An order is the slope of log error against log step size, for each starting point. A maximum over points would blur the fit
where the error of one of them crosses zero; the median of their slopes does not. Stochastic samplers are judged by the exact
mean and variance of what they make of Gaussian data: no Monte Carlo.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from replication.diffusion import sample
from replication.diffusion.denoiser import Denoise
from replication.diffusion.sampler import Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.types import Prediction, per_image

TRIANGLE = torch.tensor([[-0.8, 0.3], [0.9, 0.5], [0.1, -0.7]], dtype=torch.float64)[:, :, None, None]


@dataclass
class GaussianDenoiser:
    """For data N(mean, std^2 I); mean and std are numbers, or one value per channel, [C,1,1]."""

    schedule: NoiseSchedule
    mean: float | Tensor = 0.3
    std: float | Tensor = 0.5

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        alpha, sigma = per_image(self.schedule.alpha(t), x_t), per_image(self.schedule.sigma(t), x_t)
        variance, centred = alpha**2 * self.std**2 + sigma**2, x_t - alpha * self.mean
        return Prediction(self.mean + alpha * self.std**2 / variance * centred, sigma / variance * centred)

    def variance(self, t: Tensor) -> Tensor:
        """Of x_t, per pixel."""
        return self.schedule.alpha(t) ** 2 * self.std**2 + self.schedule.sigma(t) ** 2

    def flow(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        alpha_t, alpha_s = self.schedule.alpha(t), self.schedule.alpha(s)
        return alpha_s * self.mean + (self.variance(s) / self.variance(t)).sqrt() * (x_t - alpha_t * self.mean)


class CorrelatedGaussian:
    """Two correlated channels, [B,2,H,W]: along the axes of the covariance, Gaussians of two standard deviations.

    An error that passes through zero at some number of steps for the one does not for the other.
    """

    MEAN, STDS, ANGLE = (0.3, -0.2), (0.4, 1.5), 0.6  # along each axis; of the first axis, in radians

    def __init__(self, schedule: NoiseSchedule):
        self.schedule = schedule
        cos, sin = math.cos(self.ANGLE), math.sin(self.ANGLE)
        self.axes = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
        mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (self.MEAN, self.STDS))
        self.along_axes = GaussianDenoiser(schedule, mean, std)

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        x0, eps, *_ = self.along_axes(_turned(self.axes.T, x_t), t)
        return Prediction(_turned(self.axes, x0), _turned(self.axes, eps))

    def flow(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return _turned(self.axes, self.along_axes.flow(_turned(self.axes.T, x_t), t, s))


def _turned(axes: Tensor, x: Tensor) -> Tensor:
    return torch.einsum("ce,behw->bchw", axes, x)


@dataclass
class PointsDenoiser:
    """For the points [K,C,H,W], at a time t []; not linear in x_t, so that no sampler is right by accident of linearity."""

    schedule: NoiseSchedule
    points: Tensor = field(default=TRIANGLE)

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        x0 = self._mean(x_t, float(alpha), float(sigma))
        return Prediction(x0, (x_t - alpha * x0) / sigma)

    def flow(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """To about 1e-12."""
        span = [float(self.schedule.half_log_snr(time)) for time in (t, s)]

        def slope(u: float, y: np.ndarray) -> np.ndarray:
            there = torch.from_numpy(y).reshape(x_t.shape)
            return (self._mean(there, 1.0, float(np.exp(-u))) - there).flatten().numpy()

        start = (x_t / self.schedule.alpha(t)).flatten().numpy()
        end = solve_ivp(slope, span, start, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
        return self.schedule.alpha(s) * torch.from_numpy(end).reshape(x_t.shape)

    def _mean(self, x_t: Tensor, alpha: float, sigma: float) -> Tensor:
        squared = (x_t[:, None] - alpha * self.points).square().flatten(2).sum(dim=2)
        weights = torch.softmax(-squared / (2 * sigma**2), dim=1)
        return torch.einsum("bk,kchw->bchw", weights, self.points)


ExactDenoiser = GaussianDenoiser | CorrelatedGaussian | PointsDenoiser


def starts(denoiser: ExactDenoiser, t: Tensor) -> Tensor:
    """Eight images [8,2,1,1] at time t, at 0.3 to 1.8 standard deviations of the noise there, in all directions."""
    i = torch.arange(16, dtype=torch.float64).reshape(8, 2, 1, 1)
    scale = (denoiser.schedule.alpha(t) ** 2 + denoiser.schedule.sigma(t) ** 2).sqrt()
    return scale * (0.3 + 1.5 * torch.frac(0.618034 * i)) * torch.sign(torch.sin(2.1 * i + 1))


def slopes(steps: Sequence[float], errors: Sequence[Tensor]) -> Tensor:
    """Minus the slope of log(error) against log(number of steps) by least squares, one for each starting point."""
    x, y = torch.tensor(steps, dtype=torch.float64).log(), torch.stack(list(errors)).log()
    x = x - x.mean()
    return -(x[:, None] * (y - y.mean(dim=0))).sum(dim=0) / x.square().sum()


def global_errors(
    denoiser: ExactDenoiser, sampler: Sampler, times: Callable[[int], Tensor], steps: Sequence[int], exact: int = 0
) -> list[Tensor]:
    """Distance [starts] from the exact flow at the end, for each number of steps; `times(n)` gives n + 1 times.

    exact: so many first steps are replaced by the flow itself, while the sampler's history sees them.
    """
    ends = times(steps[0])[[0, -1]]
    x_T = starts(denoiser, ends[0])
    x_0 = denoiser.flow(x_T, *ends)
    return [
        distance(
            walk(denoiser, sampler, times(n), x_T, exact) if exact else sample(denoiser, sampler, times(n), x_T), x_0
        )
        for n in steps
    ]


def local_errors(
    denoiser: ExactDenoiser, sampler: Sampler, centre: float, multiples: Sequence[float], lengths: Sequence[float]
) -> list[Tensor]:
    """Error [starts] of the last step alone, all before it being exact, for each step length in half_log_snr.

    The steps are `multiples` of the length, and the last begins at half_log_snr `centre`.
    """
    errors = []
    for length in lengths:
        places = centre + length * (torch.tensor([0.0, *multiples]).double().cumsum(0) - sum(multiples[:-1]))
        times = denoiser.schedule.time_at(places)
        x_T = starts(denoiser, times[0])
        x = walk(denoiser, sampler, times, x_T, len(multiples) - 1)
        errors.append(distance(x, denoiser.flow(x_T, times[0], times[-1])))
    return errors


def walk(denoiser: ExactDenoiser, sampler: Sampler, times: Tensor, x_T: Tensor, exact: int) -> Tensor:
    """The sampler's answer at times[-1] where its first `exact` steps are each followed by the flow's own answer.

    A state that keeps an image (UniPC's, where its last step began) is given the exact one. The end is not announced,
    so that no order is lowered for it.
    """
    x, state = x_T, sampler.init()
    for i in range(len(times) - 1):
        if i <= exact and hasattr(state, "x_t") and state.x_t is not None:
            state = dataclasses.replace(state, x_t=denoiser.flow(x_T, times[0], state.t))
        x_s, state = sampler.step(denoiser, denoiser.schedule, x, times[i], times[i + 1], None, state)
        x = denoiser.flow(x_T, times[0], times[i + 1]) if i < exact else x_s
    return x


def distance(a: Tensor, b: Tensor) -> Tensor:
    """max-abs per image."""
    return (a - b).abs().flatten(1).amax(dim=1)


def moment_errors(
    denoiser: GaussianDenoiser, sampler: Sampler, times: Callable[[int], Tensor], steps: Sequence[int]
) -> list[Tensor]:
    """|mean error| and |variance error| [2] per pixel at the end, starting from the exact moments."""
    errors = []
    for n in steps:
        visited = times(n)
        start, end = (
            (float(denoiser.schedule.alpha(t) * denoiser.mean), float(denoiser.variance(t))) for t in visited[[0, -1]]
        )
        reached = torch.tensor(final_moments(denoiser, sampler, visited, *start), dtype=torch.float64)
        errors.append((reached - torch.tensor(end, dtype=torch.float64)).abs())
    return errors


def final_moments(
    denoiser: Denoise, sampler: Sampler, times: Tensor, mean: float = 0.0, variance: float = 1.0
) -> tuple[float, float]:
    """(mean, variance) per pixel at times[-1], starting from N(mean, variance) at times[0]; the denoiser is affine.

    Then every sampler is affine too: x_0 = a x_T + sum_i c_i z_i + b for the noise z_i of step i. One call of `sample`
    gives all coefficients: each image of the batch is the response to one impulse.
    """
    steps = len(times) - 1
    x_T = torch.zeros(steps + 2, 1, 1, 1, dtype=torch.float64)
    x_T[1] = 1.0  # image 0: no impulse; image 1: x_T; image 2 + i: the noise of step i

    def impulse(step: int, shape: Sequence[int]) -> Tensor:
        z = torch.zeros(*shape, dtype=torch.float64)
        z[2 + step] = 1.0
        return z

    answer = sample(denoiser, sampler, times, x_T, impulse).flatten()
    offset, response = answer[0], answer[1:] - answer[0]
    return float(offset + response[0] * mean), float(response[0] ** 2 * variance + response[1:].square().sum())
