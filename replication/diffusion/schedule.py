"""What a noise schedule is: x_t = alpha(t) x_0 + sigma(t) eps, for t in [0, 1], in float64.

Time 0 is clean (alpha 1, sigma 0). A discrete schedule of T steps lives at t = k/T for k = 1..T, and the network is
told `timestep(t) = k - 1`, the index that the papers' code counts from 0.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from replication.types import InputError


class NoiseSchedule(ABC):
    """`t` may have any shape; every answer has that shape, in float64. `half_log_snr` is strictly decreasing."""

    T: int
    version = 1

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """The scale of x_0 in x_t."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """The standard deviation of the noise in x_t."""

    def half_log_snr(self, t: Tensor) -> Tensor:
        """log(alpha / sigma); infinite at t = 0."""
        return self.alpha(t).log() - self.sigma(t).log()

    def timestep(self, t: Tensor) -> Tensor:
        """What the network is told: k - 1 at t = k/T; fractional between two steps of the grid."""
        return self._grid(t) - 1

    def _grid(self, t: Tensor) -> Tensor:
        """k = t T, with the rounding of k/T undone, so that grid points hit the tables exactly."""
        k = t.double() * self.T
        nearest = k.round()
        return torch.where((k - nearest).abs() < 1e-9 * self.T, nearest, k)


class DiscreteSchedule(NoiseSchedule):
    """A variance-preserving schedule given by its betas[T]: alpha(k/T)^2 = prod_{j<=k} (1 - beta_j).

    Between two grid points log alpha is interpolated linearly, as DPM-Solver does (Lu et al. 2022, appendix D.2).
    """

    def __init__(self, betas: Tensor):
        if betas.ndim != 1 or len(betas) < 1 or not bool(((betas > 0) & (betas < 1)).all()):
            raise InputError("a schedule needs at least one beta, each of them between 0 and 1")
        self.betas = betas.double()
        self.alphas_cumprod = torch.cumprod(1 - self.betas, dim=0)
        self.T = len(betas)
        self._log_alpha = torch.cat([torch.zeros(1).double(), 0.5 * self.alphas_cumprod.log()])  # k = 0..T

    def log_alpha(self, t: Tensor) -> Tensor:
        """log alpha(t)."""
        k = self._grid(t).clamp(0, self.T)
        below = k.floor().long().clamp(max=self.T - 1)
        table = self._log_alpha.to(t.device)
        return torch.lerp(table[below], table[below + 1], k - below)

    def alpha(self, t: Tensor) -> Tensor:
        return self.log_alpha(t).exp()

    def sigma(self, t: Tensor) -> Tensor:
        return (-torch.expm1(2 * self.log_alpha(t))).sqrt()  # sqrt(1 - alpha^2) without cancellation near t = 0

    def half_log_snr(self, t: Tensor) -> Tensor:
        return self.log_alpha(t) - self.sigma(t).log()


def check_steps(T: int) -> None:
    """Refuse a T that is no positive whole number; raises InputError."""
    if isinstance(T, bool) or not isinstance(T, int) or T < 1:
        raise InputError(f"T must be a positive whole number of steps, not {T!r}")
