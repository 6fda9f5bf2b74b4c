"""Uniform stride, as the DDIM code has it (Song et al. 2021, appendix D.2: "linear"): indices 0, c, 2c, ... below T."""

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.diffusion.spacing import Spacing, times_of
from replication.registry import SPACINGS


@SPACINGS.register("uniform")
class Uniform(Spacing):
    """The DDIM code's uniform stride, indices 0, c, 2c, ... below T (Song et al. 2021, appendix D.2, "linear").

    c = T // n_steps, so T - 1 is visited only when c is 1: 20 of 1000 steps start at index 950.

    Where n_steps does not divide T the published rule takes more steps than asked (30 gives 31, 300 gives 334), and so
    does this one; the returned length tells, and NFE is counted from it.
    """

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        return times_of(torch.arange(0, schedule.T, schedule.T // n_steps), schedule)
