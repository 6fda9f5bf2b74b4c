"""Linspace: indices evenly spaced over the whole schedule; Lin et al. 2023, Table 2, and DPM-Solver's time_uniform."""

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.diffusion.spacing import Spacing, check_end, times_of
from replication.registry import SPACINGS
from replication.types import InputError


@SPACINGS.register("linspace")
class Linspace(Spacing):
    """Indices evenly spaced from T - 1 to 0, both included (Lin et al. 2023, Table 2).

    end "zero": n_steps indices and then t = 0, as diffusers' DDIM and DDPM do; a single one is T - 1 (theirs
    is 0, where nothing is left to denoise).
    end "first": n_steps + 1 indices, the last of which is the end, t = 1/T: the official DPM-Solver's time_uniform,
    with round = false. round = true rounds half to even, as diffusers does; false keeps the fractions, which the network
    then gets. No index repeats: n_steps = T with end "first" and rounding raises InputError, as does another end.
    """

    def __init__(self, round: bool = True, end: str = "zero"):
        self.round, self.end = round, check_end(end)

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        n = n_steps + (self.end == "first")
        if self.round and n > schedule.T:
            raise InputError(
                f"{n_steps} steps to t = 1/T need {n} timesteps, more than the schedule's T = {schedule.T}"
            )
        # numpy's linspace, operation by operation: halves are rounded, so the last bit matters
        indices = torch.arange(n, dtype=torch.float64) * ((schedule.T - 1) / max(n - 1, 1))
        indices[-1] = schedule.T - 1
        times = times_of(indices.round() if self.round else indices, schedule)
        return times if self.end == "zero" else times[:-1]
