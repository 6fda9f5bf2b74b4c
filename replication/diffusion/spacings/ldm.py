"""The times of LDM's official DDIM: DDIM's uniform stride with every timestep moved up by one, and an end before zero."""

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.diffusion.spacing import Spacing, times_of
from replication.registry import SPACINGS
from replication.types import InputError


@SPACINGS.register("ldm")
class LDM(Spacing):
    """LDM's official DDIM times: the uniform stride moved up by one, ending at t = 1/T (Rombach et al. 2022).

    Indices 1, 1 + c, 1 + 2c, ... below T + 1, with c = T // n_steps, and t = 1/T at the end.

    So the last alpha is alphas_cumprod[0], 0.9985 for the published models, and the final latent keeps noise. As in
    `uniform`, more steps than asked are taken where n_steps does not divide T: 400 of 1000, which the official README has
    for LSUN-Churches, are 500 (the paper's Table 1 has 200). Raises InputError where the shift leads beyond the schedule,
    as at c = 1.
    """

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        indices = 1 + torch.arange(0, schedule.T, schedule.T // n_steps)
        if indices[-1] >= schedule.T:
            raise InputError(f"spacing 'ldm': {n_steps} steps of {schedule.T} lead to index {schedule.T}, one too many")
        return times_of(indices, schedule, "first")
