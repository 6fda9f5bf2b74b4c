"""What a spacing is: the times that a sampler visits, `(schedule, n_steps) -> t: Float64[N+1]`, from noisy to clean.

The same checkpoint serves every spacing. Published off-by-ones are kept, each under its own name or option.
"""

import operator
from abc import ABC, abstractmethod
from typing import SupportsIndex

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.types import InputError

ENDS = ("zero", "first")


class Spacing(ABC):
    """Called with a schedule and a number of steps; raises InputError unless 1 <= n_steps <= schedule.T."""

    version = 1

    def __call__(self, schedule: NoiseSchedule, n_steps: SupportsIndex) -> Tensor:
        try:
            steps = 0 if isinstance(n_steps, bool) else operator.index(n_steps)  # numpy's whole numbers are some too
        except TypeError:
            steps = 0
        if steps < 1:
            raise InputError(f"the number of steps must be a positive whole number, not {n_steps!r}")
        if steps > schedule.T:
            raise InputError(f"{steps} steps are more than the schedule's T = {schedule.T}")
        return self.times(schedule, steps)

    @abstractmethod
    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        """The times, never increasing; the first is the noisiest and the last is where sampling ends."""


def times_of(indices: Tensor, schedule: NoiseSchedule, end: str = "zero") -> Tensor:
    """The papers' ascending timestep indices (0..T-1) as times: (index + 1)/T from the top, then the end's time."""
    return torch.cat([(indices.flip(0).double() + 1) / schedule.T, end_time(end, schedule)])


def end_time(end: str, schedule: NoiseSchedule) -> Tensor:
    """Float64[1]. zero: t = 0, the clean image. first: t = 1/T, the first alpha_bar of the tables, as LDM's DDIM does."""
    return torch.tensor([0.0 if end == "zero" else 1 / schedule.T], dtype=torch.float64)
