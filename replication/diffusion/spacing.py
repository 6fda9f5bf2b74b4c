"""What a spacing is: the times that a sampler visits, `(schedule, n_steps) -> t: Float64[N+1]`, from noisy to clean.

The same checkpoint serves every spacing. Published off-by-ones are kept, each under its own name or option.
"""

import operator
from abc import ABC, abstractmethod
from typing import SupportsIndex

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.registry import unknown
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


class SigmaSpacing(Spacing):
    """A rule for the noise-to-signal ratio sigma/alpha = exp(-half_log_snr), in which k-diffusion and EDM count.

    sigma_max, sigma_min: the range, in that ratio; by default that of t = 1 and of t = 1/T. Where the schedule leaves no
    signal at t = 1 (flow, zero_terminal_snr, jsd) the default is that of t = 1 - 1/T, and times[0] is 1 - 1/T too.
    end: "zero" is n_steps ratios of the range and then t = 0; "first" is n_steps + 1 ratios, the last of them sigma_min,
    as the official DPM-Solver does. Times are not rounded to the grid k/T; between its points they follow the
    schedule's interpolation, which is linear in log alpha (k-diffusion's is linear in log sigma).

    Raises InputError for another end, and for a range that is empty or that the schedule does not have.
    """

    def __init__(self, sigma_min: float | None = None, sigma_max: float | None = None, end: str = "zero"):
        self.sigma_min, self.sigma_max, self.end = sigma_min, sigma_max, check_end(end)

    @abstractmethod
    def ratios(self, highest: Tensor, lowest: Tensor, n: int) -> Tensor:
        """n >= 1 ratios that fall from the highest to the lowest; the highest alone if n is 1."""

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        t = torch.tensor([1.0, 1 / schedule.T], dtype=torch.float64)  # where the range begins and ends
        if schedule.alpha(t[0]) == 0:
            t[0] = 1 - 1 / schedule.T
        for i, sigma in enumerate((self.sigma_max, self.sigma_min)):
            if sigma is not None:
                t[i] = self._time_of(schedule, sigma)
        n = n_steps + (self.end == "first")
        if t[0] <= (t[1] if n > 1 else 0):
            raise InputError(
                f"the range of sigma/alpha is empty: it begins at t = {t[0]:.4g} and ends at t = {t[1]:.4g}"
            )
        highest, lowest = torch.exp(-schedule.half_log_snr(t))
        times = schedule.time_at(-self.ratios(highest, lowest, n).log())
        times[-1], times[0] = t[1], t[0]  # without rounding; in this order, since a single time is the first
        return times if self.end == "first" else torch.cat([times, torch.zeros(1).double()])

    @staticmethod
    def _time_of(schedule: NoiseSchedule, sigma: float) -> Tensor:
        if not sigma > 0:
            raise InputError(f"a ratio sigma/alpha must be positive, not {sigma!r}")
        return schedule.time_at(-torch.tensor(sigma, dtype=torch.float64).log())


def times_of(indices: Tensor, schedule: NoiseSchedule, end: str = "zero") -> Tensor:
    """The papers' ascending timestep indices (0..T-1) as times: (index + 1)/T from the top, then the end's time."""
    return torch.cat([(indices.flip(0).double() + 1) / schedule.T, end_time(end, schedule)])


def end_time(end: str, schedule: NoiseSchedule) -> Tensor:
    """Float64[1]. zero: t = 0, the clean image. first: t = 1/T, the first alpha_bar of the tables, as LDM's DDIM does."""
    return torch.tensor([0.0 if end == "zero" else 1 / schedule.T], dtype=torch.float64)


def check_end(end: str) -> str:
    """The name itself if it is valid; raises InputError otherwise."""
    if end not in ENDS:
        raise unknown("end", end, list(ENDS))
    return end
