"""Betas that climb linearly and then stay: `warmup10` and `warmup50` of the official DDPM code (Ho et al. 2020)."""

import torch

from replication.diffusion.schedule import DiscreteSchedule, check_steps
from replication.registry import SCHEDULES


class Warmup(DiscreteSchedule):
    """From beta_start to beta_end over the first int(fraction T) steps, both ends included, then beta_end."""

    fraction: float

    def __init__(self, T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02):
        check_steps(T)
        climb = torch.linspace(beta_start, beta_end, int(T * self.fraction), dtype=torch.float64)
        super().__init__(torch.cat([climb, torch.full((T - len(climb),), beta_end, dtype=torch.float64)]))


@SCHEDULES.register("warmup10")
class Warmup10(Warmup):
    """Betas climb for a tenth of the steps and then stay: `warmup10` of the official DDPM code (Ho et al. 2020)."""

    fraction = 0.1


@SCHEDULES.register("warmup50")
class Warmup50(Warmup):
    """Betas climb for half of the steps and then stay: `warmup50` of the official DDPM code (Ho et al. 2020)."""

    fraction = 0.5
