"""The straight line between data and noise: Liu et al. 2022 (rectified flow), with time running as everywhere here.

The paper's own time is 1 - t. Networks of this path predict the velocity: parameterization "velocity".
"""

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule, check_steps
from replication.registry import SCHEDULES


@SCHEDULES.register("flow")
class Flow(NoiseSchedule):
    """The straight line from data to noise, alpha = 1 - t and sigma = t: rectified flow (Liu et al. 2022).

    At t = 1 half_log_snr is -inf. T only grids the times, see NoiseSchedule.
    """

    def __init__(self, T: int = 1000):
        check_steps(T)
        self.T = T

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t.double()

    def sigma(self, t: Tensor) -> Tensor:
        return t.double()

    def timestep(self, t: Tensor) -> Tensor:
        """t T: the number that Stable Diffusion 3 and diffusers' flow-matching schedulers tell (SiT tells t itself)."""
        return self._grid(t)

    def _time_at(self, lam: Tensor) -> Tensor:
        return torch.sigmoid(-lam)
