"""Linear betas: Ho et al. 2020 (DDPM), section 4. beta runs from 1e-4 to 0.02 whatever T is."""

import torch

from replication.diffusion.schedule import DiscreteSchedule, check_steps
from replication.registry import SCHEDULES


@SCHEDULES.register("linear")
class Linear(DiscreteSchedule):
    """Betas evenly spaced from beta_start to beta_end, both included: DDPM's own (Ho et al. 2020, section 4).

    At T = 1000 the last alpha_bar is 4.0e-5.
    """

    def __init__(self, T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02):
        check_steps(T)
        super().__init__(torch.linspace(beta_start, beta_end, T, dtype=torch.float64))
