"""What a noise schedule is: x_t = alpha(t) x_0 + sigma(t) eps, for t in [0, 1], in float64.

Time 0 is clean (alpha 1, sigma 0). A discrete schedule of T steps lives at t = k/T for k = 1..T, and the network
gets `timestep(t) = k - 1`, the index that the papers' code counts from 0. `lam` below is half_log_snr.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from replication.types import InputError


class NoiseSchedule(ABC):
    """`t` may have any shape; every answer has that shape, in float64. `half_log_snr` is strictly decreasing.

    T is the number of steps of a discrete schedule; a continuous one has it as the grid t = k/T that training draws
    from and that index rules (uniform, leading, ...) count on.
    """

    T: int
    version = 1

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """The scale of x_0 in x_t."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """The standard deviation of the noise in x_t."""

    def half_log_snr(self, t: Tensor) -> Tensor:
        """log(alpha / sigma); inf at t = 0, and -inf at t = 1 where no signal is left (alpha 0)."""
        return self.alpha(t).log() - self.sigma(t).log()

    def time_at(self, half_log_snr: Tensor) -> Tensor:
        """The inverse of half_log_snr, in its shape; raises InputError below its value at t = 1."""
        lam, lowest = half_log_snr.double(), self.half_log_snr(torch.ones((), dtype=torch.float64))
        if not bool((lam >= lowest - 1e-9).all()):  # rounding at t = 1 is forgiven
            raise InputError(f"half_log_snr {float(lam.min()):.6g} lies beyond t = 1, where it is {float(lowest):.6g}")
        return self._time_at(lam).clamp(0, 1)

    @abstractmethod
    def _time_at(self, lam: Tensor) -> Tensor:
        """The inverse where it exists."""

    def timestep(self, t: Tensor) -> Tensor:
        """The network's time input: k - 1 at t = k/T; fractional between two steps of the grid."""
        return self._grid(t) - 1

    def prior_std(self, t: Tensor) -> Tensor:
        """What unit noise is multiplied by to begin sampling at time t: the noise at t, unless papers do otherwise."""
        return self.sigma(t)

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
        self._log_alpha = torch.cat([torch.zeros(1).double(), 0.5 * self.alphas_cumprod.log()])  # k = 0, 1, ...
        self._known: dict[float, Tensor] = {}
        self._tables: dict[torch.device, Tensor] = {}

    def log_alpha(self, t: Tensor) -> Tensor:
        """log alpha(t)."""
        if t.ndim > 0 or t.device.type != "cpu":
            return self._interpolated(t)
        # a sampler asks for the same few scalars over and over, and small tensors cost as much as large ones
        key = float(t)
        if key not in self._known:
            self._known[key] = self._interpolated(t)
        return self._known[key]

    def _interpolated(self, t: Tensor) -> Tensor:
        table = self._table(t.device)
        k = self._grid(t).clamp(0, len(table) - 1)
        below = k.floor().long().clamp(max=len(table) - 2)
        return torch.lerp(table[below], table[below + 1], k - below)

    def _table(self, device: torch.device) -> Tensor:
        """log alpha at k = 0..T on that device, copied there once: a copy waits for all that the device has to do."""
        if device not in self._tables:
            self._tables[device] = self._log_alpha.to(device)
        return self._tables[device]

    def alpha(self, t: Tensor) -> Tensor:
        return self.log_alpha(t).exp()

    def sigma(self, t: Tensor) -> Tensor:
        return (-torch.expm1(2 * self.log_alpha(t))).sqrt()  # sqrt(1 - alpha^2) without cancellation near t = 0

    def half_log_snr(self, t: Tensor) -> Tensor:
        return self.log_alpha(t) - self.sigma(t).log()

    def prior_std(self, t: Tensor) -> Tensor:
        """1 at any t: DDPM, DDIM and their successors start from unit noise wherever the times begin."""
        return torch.ones_like(t, dtype=torch.float64)

    def _time_at(self, lam: Tensor) -> Tensor:
        return self._time_at_log_alpha(0.5 * logsigmoid(2 * lam))  # alpha^2 = sigmoid(2 lam)

    def _time_at_log_alpha(self, log_alpha: Tensor) -> Tensor:
        table = self._table(log_alpha.device)
        above = torch.searchsorted(-table, -log_alpha.contiguous()).clamp(1, len(table) - 1)
        below = above - 1
        return (below + (log_alpha - table[below]) / (table[above] - table[below])) / self.T


class ZeroTerminalSchedule(DiscreteSchedule):
    """Betas whose last is 1: at t = 1 nothing of x_0 is left, and half_log_snr is -inf.

    On the last interval, where log alpha has no finite end, alpha itself is interpolated linearly.
    """

    def __init__(self, betas: Tensor):
        if len(betas) < 2 or betas[-1] != 1:
            raise InputError("a schedule without terminal signal needs at least two betas, the last of them 1")
        super().__init__(betas[:-1])
        self.betas = betas.double()
        self.alphas_cumprod = torch.cat([self.alphas_cumprod, torch.zeros(1).double()])
        self.T = len(betas)

    def log_alpha(self, t: Tensor) -> Tensor:
        into_last = (self._grid(t) - (self.T - 1)).clamp(0, 1)
        return super().log_alpha(t) + torch.log1p(-into_last)

    def _time_at_log_alpha(self, log_alpha: Tensor) -> Tensor:
        entered = self._table(log_alpha.device)[-1]
        into_last = -torch.expm1((log_alpha - entered).clamp(max=0))
        return super()._time_at_log_alpha(log_alpha.clamp(min=entered)) + into_last / self.T


def capped_betas(alpha_bar: Tensor, max_beta: float) -> Tensor:
    """Betas[T] of alpha_bar[T+1] at k = 0..T, each at most max_beta: Nichol and Dhariwal 2021, section 3.2."""
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=max_beta)


MOST_STEPS = 1_000_000


def check_steps(T: int) -> None:
    """Refuse a T that is no positive whole number, or whose tables would not fit; raises InputError."""
    if T < 1:
        raise InputError(f"T must be a positive whole number of steps, not {T!r}")
    if T > MOST_STEPS:
        raise InputError(f"T = {T}: tables of more than {MOST_STEPS:,} steps are not kept")
