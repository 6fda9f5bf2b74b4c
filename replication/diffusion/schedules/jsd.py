"""Betas 1/T, 1/(T-1), ..., 1/2, 1: Sohl-Dickstein et al. 2015, section 2.4.1, and `jsd` of the official DDPM code."""

import torch

from replication.diffusion.schedule import ZeroTerminalSchedule, check_steps
from replication.registry import SCHEDULES


@SCHEDULES.register("jsd")
class JSD(ZeroTerminalSchedule):
    """Betas 1/T, 1/(T-1), ..., 1/2, 1: alpha_bar falls on a line to 0 (Sohl-Dickstein et al. 2015, section 2.4.1).

    InputError for T = 1.
    """

    def __init__(self, T: int = 1000):
        check_steps(T)
        super().__init__(1 / torch.arange(T, 0, -1, dtype=torch.float64))
