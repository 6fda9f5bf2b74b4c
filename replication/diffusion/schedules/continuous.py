"""Paths without betas. T only grids their times, see NoiseSchedule."""

import math

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule, check_steps
from replication.registry import SCHEDULES
from replication.types import InputError


@SCHEDULES.register("flow")
class Flow(NoiseSchedule):
    """The straight line from data to noise, alpha = 1 - t and sigma = t: rectified flow (Liu et al. 2022).

    The paper's own time is 1 - t. Networks of this path predict the velocity: parameterization "velocity". At t = 1
    half_log_snr is -inf.
    """

    def __init__(self, T: int = 1000):
        check_steps(T)
        self.T = T

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t.double()

    def sigma(self, t: Tensor) -> Tensor:
        return t.double()

    def timestep(self, t: Tensor) -> Tensor:
        """t T, as in Stable Diffusion 3 and diffusers' flow-matching schedulers (in SiT it is t itself)."""
        return self._grid(t)

    def _time_at(self, lam: Tensor) -> Tensor:
        return torch.sigmoid(-lam)


@SCHEDULES.register("ve")
class VE(NoiseSchedule):
    """Variance-exploding: alpha = 1, sigma = sigma_max t (Karras et al. 2022, EDM, Table 1).

    EDM's own time is sigma. Its preconditioning (c_in, c_skip, c_out) belongs to the network. InputError unless
    sigma_max > 0.
    """

    def __init__(self, T: int = 1000, sigma_max: float = 80.0):
        check_steps(T)
        if not 0 < sigma_max < math.inf:
            raise InputError(f"sigma_max must be positive, not {sigma_max!r}")
        self.T, self.sigma_max = T, sigma_max

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t, dtype=torch.float64)

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_max * t.double()

    def timestep(self, t: Tensor) -> Tensor:
        """c_noise = ln(sigma) / 4 (EDM, Table 1)."""
        return self.sigma(t).log() / 4

    def _time_at(self, lam: Tensor) -> Tensor:
        return torch.exp(-lam) / self.sigma_max
