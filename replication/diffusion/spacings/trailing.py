"""Trailing spacing: Lin et al. 2023 (arXiv:2305.08891), Table 2, which begins at t = 1 for any number of steps."""

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.diffusion.spacing import Spacing, check_end, times_of
from replication.registry import SPACINGS


@SPACINGS.register("trailing")
class Trailing(Spacing):
    """Equal strides from index T - 1 down, so that sampling starts at t = 1 (Lin et al. 2023, Table 2).

    Indices T - 1 - i T / n_steps, i = 0 .. n_steps - 1, rounded half to even, as diffusers and the paper do.

    Where n_steps does not divide T the stride is uneven by one index; no index repeats. (For 61, 103 and 60 other
    numbers of 1000 steps diffusers adds one at index -1 by a rounding error, which is not copied.) round = false keeps the
    fractions, which the network then gets. end: "zero", or "first", which appends t = 1/T (n_steps = T visits that
    already: its last step is an identity for DDIM with eta 0). Raises InputError for another end.
    """

    def __init__(self, round: bool = True, end: str = "zero"):
        self.round, self.end = round, check_end(end)

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        # numpy's arange, operation by operation: halves are rounded, so the last bit matters (48 steps, 96, 112, ...)
        stride = (schedule.T - schedule.T / n_steps) - schedule.T
        k = schedule.T + torch.arange(n_steps, dtype=torch.float64) * stride
        return times_of((k.round() if self.round else k).flip(0) - 1, schedule, self.end)
