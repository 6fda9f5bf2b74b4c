"""Variance-exploding: Karras et al. 2022 (EDM), Table 1, with alpha = 1 and noise that grows linearly in time.

EDM's own time is sigma; here t = sigma / sigma_max. Its preconditioning (c_in, c_skip, c_out) belongs to the network.
"""

import math

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule, check_steps
from replication.registry import SCHEDULES
from replication.types import InputError


@SCHEDULES.register("ve")
class VE(NoiseSchedule):
    """Variance-exploding: alpha = 1, sigma = sigma_max t (Karras et al. 2022, EDM, Table 1).

    T only grids the times, see NoiseSchedule. InputError unless sigma_max > 0.
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
