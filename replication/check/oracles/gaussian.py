"""Gaussian data N(mean, std^2 I): the denoiser, the probability-flow ODE and every moment are closed form.

x_t ~ N(alpha mean, v I),   v = alpha^2 std^2 + sigma^2
E[x_0|x_t] = mean + (alpha std^2 / v) (x_t - alpha mean)
E[eps|x_t] = (sigma / v) (x_t - alpha mean)
the flow keeps (x_t - alpha mean) / sqrt(v) constant
"""

from dataclasses import dataclass

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
