"""Times that the user lists, e.g. those that a search found."""

from collections.abc import Sequence

import torch
from torch import Tensor

from replication.diffusion.schedule import DiscreteSchedule, NoiseSchedule
from replication.diffusion.spacing import Spacing, check_end, end_time
from replication.registry import SPACINGS
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
        self.indexed, self.end = times is None, check_end(end)

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
