"""What a spacing is: the times that a sampler visits, `(schedule, n_steps) -> t: Float64[N+1]`, from noisy to clean.

The same checkpoint serves every spacing. Published off-by-ones are kept, each under its own name.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.types import InputError


class Spacing(ABC):
    """Called with a schedule and a number of steps; raises InputError unless 1 <= n_steps <= schedule.T."""

    version = 1

    def __call__(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        if isinstance(n_steps, bool) or not isinstance(n_steps, int) or n_steps < 1:
            raise InputError(f"the number of steps must be a positive whole number, not {n_steps!r}")
        if n_steps > schedule.T:
            raise InputError(f"{n_steps} steps are more than the schedule's T = {schedule.T}")
        return self.times(schedule, n_steps)

    @abstractmethod
    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        """The times, never increasing; the first is the noisiest and the last is where sampling ends."""


def times_of(indices: Tensor, schedule: NoiseSchedule) -> Tensor:
    """The papers' ascending timestep indices (0..T-1) as times: (index + 1)/T from the top, then 0."""
    return torch.cat([(indices.flip(0).double() + 1) / schedule.T, torch.zeros(1).double()])
