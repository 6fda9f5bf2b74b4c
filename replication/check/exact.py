"""Data whose denoiser and probability flow are known: Gaussians, in closed form, and finite sets of points.

`flow(x_t, t, s)` is where the probability-flow ODE takes x_t by time s: what deterministic samplers approach.

For N(mean, std^2 I), with v = alpha^2 std^2 + sigma^2:

    x_t ~ N(alpha mean, v I)
    E[x_0|x_t] = mean + (alpha std^2 / v) (x_t - alpha mean)
    E[eps|x_t] = (sigma / v) (x_t - alpha mean)
    the flow keeps (x_t - alpha mean) / sqrt(v) constant

For K equally likely points p_k:

    E[x_0|x_t] = sum_k w_k p_k,   w = softmax(-|x_t - alpha p_k|^2 / (2 sigma^2))
    in y = x/alpha and u = half_log_snr the flow is dy/du = x0 - y, solved numerically
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

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
