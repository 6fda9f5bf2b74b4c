"""Data that is a finite set of points, equally likely: the ideal denoiser, and the probability flow solved numerically.

E[x_0|x_t] = sum_k w_k p_k,   w = softmax(-|x_t - alpha p_k|^2 / (2 sigma^2))

Unlike Gaussian data it is not linear in x_t, so a sampler can't be right by accident of linearity. In y = x/alpha and
u = lam the flow is dy/du = x0 - y.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.types import Prediction

TRIANGLE = torch.tensor([[-0.8, 0.3], [0.9, 0.5], [0.1, -0.7]], dtype=torch.float64)[:, :, None, None]


@dataclass
class PointsDenoiser:
    """The exact answer at (x_t [B,C,H,W], t []) for the points [K,C,H,W]; a `Denoise`."""

    schedule: NoiseSchedule
    points: Tensor = field(default=TRIANGLE)

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        x0 = self._mean(x_t, float(alpha), float(sigma))
        return Prediction(x0, (x_t - alpha * x0) / sigma)

    def flow(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Where the probability-flow ODE takes x_t by time s, to about 1e-12."""
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
