"""Spacings that count in t itself: times that the user lists, and those of the straight line, shifted towards the noise."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from replication.diffusion.schedule import DiscreteSchedule, NoiseSchedule
from replication.diffusion.spacing import ENDS, Spacing, end_time
from replication.registry import SPACINGS, one_of
from replication.types import InputError


@SPACINGS.register("list")
class List(Spacing):
    """Times that the user lists, such as those that a search found.

    Either times in [0, 1], N + 1 of them with the end, or N timesteps in [0, T-1], after which comes the `end`.

    Both fall strictly; timesteps are the papers' indices, fractions allowed, for discrete schedules. end: "zero" or
    "first" (t = 1/T), for timesteps only. Raises InputError for anything else, and unless they make n_steps steps.
    """

    def __init__(
        self, times: Sequence[float] | None = None, timesteps: Sequence[float] | None = None, end: str = "zero"
    ):
        if times is not None and (timesteps is not None or end != "zero"):
            raise InputError("spacing 'list': times stand alone, and say themselves where they end")
        self.given = torch.tensor(times or timesteps or [], dtype=torch.float64)
        self.indexed, self.end = times is None, one_of("end", end, ENDS)

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        if not len(self.given):
            raise InputError("spacing 'list' needs a list: option times or timesteps")
        times, kind = self.given, "timesteps" if self.indexed else "times"
        if self.indexed:
            if not isinstance(schedule, DiscreteSchedule):
                raise InputError(f"a {type(schedule).__name__} schedule has no timestep indices: list times instead")
            times = torch.cat([(times + 1) / schedule.T, end_time(self.end, schedule)])
        if len(times) != n_steps + 1:
            raise InputError(f"{len(self.given)} {kind} are listed: they make {len(times) - 1} steps, not {n_steps}")
        if not bool((times.diff() < 0).all()) or times[0] > 1 or times[-1] < 0:
            span = f"0 to {schedule.T - 1}" if self.indexed else "0 to 1"
            raise InputError(f"{kind} must fall strictly, to the end too, and lie within {span}")
        return times


@SPACINGS.register("shifted")
class Shifted(Spacing):
    """shift t / (1 + (shift - 1) t) of evenly spaced t, and then 0: more steps near the noise (Esser et al. 2024, equation 23).

    start: the smallest t before 0. "grid" is 1/T under the same shift, diffusers' own for Stable Diffusion 3, with shift = 3;
    "even" is 1/n_steps, as its pipeline gives them for FLUX, where shift is exp(mu) of the image's size: 1 for schnell, and for
    dev from exp(0.5) at 256 patches to exp(1.15) at 4096. Raises InputError for a shift that is not positive.
    """

    def __init__(self, shift: float = 3.0, start: Literal["grid", "even"] = "grid"):
        if not shift > 0:
            raise InputError(f"spacing 'shifted': shift must be above 0, not {shift}")
        self.shift, self.start = shift, start

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        first = torch.tensor(1 / (n_steps if self.start == "even" else schedule.T), dtype=torch.float64)
        first = first if self.start == "even" else self._shifted(first)  # twice in the end, as there
        even = torch.linspace(1, float(first), n_steps, dtype=torch.float64)
        return torch.cat([self._shifted(even), torch.zeros(1, dtype=torch.float64)])

    def _shifted(self, t: Tensor) -> Tensor:
        return self.shift * t / (1 + (self.shift - 1) * t)
