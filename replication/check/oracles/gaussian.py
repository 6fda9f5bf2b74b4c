"""Gaussian data: the denoiser, the probability-flow ODE and every moment are closed form. For N(mean, std^2 I):

x_t ~ N(alpha mean, v I),   v = alpha^2 std^2 + sigma^2
E[x_0|x_t] = mean + (alpha std^2 / v) (x_t - alpha mean)
E[eps|x_t] = (sigma / v) (x_t - alpha mean)
the flow keeps (x_t - alpha mean) / sqrt(v) constant
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.types import Prediction, per_image


@dataclass
class GaussianDenoiser:
    """The exact answer at (x_t, t) for data N(mean, std^2 I); a `Denoise`."""

    schedule: NoiseSchedule
    mean: float = 0.3
    std: float = 0.5

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        alpha, sigma = per_image(self.schedule.alpha(t), x_t), per_image(self.schedule.sigma(t), x_t)
        variance = per_image(self.variance(t), x_t)
        centred = x_t - alpha * self.mean
        return Prediction(self.mean + alpha * self.std**2 / variance * centred, sigma / variance * centred)

    def variance(self, t: Tensor) -> Tensor:
        """Of x_t, per pixel."""
        return self.schedule.alpha(t) ** 2 * self.std**2 + self.schedule.sigma(t) ** 2

    def flow(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Where the probability-flow ODE takes x_t by time s: what a deterministic sampler converges to."""
        alpha_t, alpha_s = self.schedule.alpha(t), self.schedule.alpha(s)
        return alpha_s * self.mean + (self.variance(s) / self.variance(t)).sqrt() * (x_t - alpha_t * self.mean)


class CorrelatedGaussian:
    """The exact answer for data N(MEAN, covariance) whose two channels are correlated; a `Denoise` on [B,2,H,W].

    In the eigenbasis of the covariance each axis is a Gaussian by itself, of another standard deviation. An error that
    passes through zero at some number of steps for the one does not for the other.
    """

    MEAN, STDS, ANGLE = (0.3, -0.2), (0.4, 1.5), 0.6  # per channel; per axis of the eigenbasis; of its first axis

    def __init__(self, schedule: NoiseSchedule):
        self.schedule = schedule
        self.mean = torch.tensor(self.MEAN, dtype=torch.float64)[:, None, None]
        cos, sin = math.cos(self.ANGLE), math.sin(self.ANGLE)
        self.axes = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        centred, variances = x_t - alpha * self.mean, self.variances(t)
        x0 = self.mean + self._scaled(centred, alpha * self._own() / variances)
        return Prediction(x0, self._scaled(centred, sigma / variances))

    def variances(self, t: Tensor) -> Tensor:
        """Of x_t along each axis, Float64[2], for a scalar t."""
        return self.schedule.alpha(t) ** 2 * self._own() + self.schedule.sigma(t) ** 2

    def flow(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Where the probability-flow ODE takes x_t [B,2,H,W] by time s."""
        centred = x_t - self.schedule.alpha(t) * self.mean
        return self.schedule.alpha(s) * self.mean + self._scaled(
            centred, (self.variances(s) / self.variances(t)).sqrt()
        )

    def _own(self) -> Tensor:
        return torch.tensor(self.STDS, dtype=torch.float64) ** 2

    def _scaled(self, x: Tensor, gains: Tensor) -> Tensor:
        """x with its part along each axis multiplied by that axis's gain."""
        return torch.einsum("ce,behw->bchw", (self.axes * gains) @ self.axes.T, x)
