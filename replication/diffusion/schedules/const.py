"""Constant betas: `const` of the official DDPM code (Ho et al. 2020); the paper trains with linear."""

import torch

from replication.diffusion.schedule import DiscreteSchedule, check_steps
from replication.registry import SCHEDULES


@SCHEDULES.register("const")
class Const(DiscreteSchedule):
    """Every beta is `beta`, as `const` of the official DDPM code (Ho et al. 2020); the last alpha_bar is 1.7e-9."""

    def __init__(self, T: int = 1000, beta: float = 0.02):
        check_steps(T)
        super().__init__(torch.full((T,), beta, dtype=torch.float64))
