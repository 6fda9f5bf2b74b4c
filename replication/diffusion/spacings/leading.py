"""Leading spacing: diffusers' default, and LDM's with offset 1; Lin et al. 2023 (arXiv:2305.08891), Table 2."""

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.diffusion.spacing import Spacing, check_end, times_of
from replication.registry import SPACINGS
from replication.types import InputError


@SPACINGS.register("leading")
class Leading(Spacing):
    """Equal strides from index 0 up, as diffusers' default: the top is left out (Lin et al. 2023, Table 2).

    Indices offset + i (T // n_steps), i = 0 .. n_steps - 1: always n_steps of them, and the top is left out.

    Where n_steps does not divide T the top is left out by more (300 of 1000 begin at index 897), while `uniform`, which
    is otherwise the same, takes more steps. offset: 0 in DDIM, 1 in LDM and Stable Diffusion ("steps_offset").
    end: "zero", or "first" as in LDM; with offset 0 the last step is then from index 0 to itself, an identity for
    DDIM with eta 0. Raises InputError for another end, a negative offset, or one that leads beyond the schedule.
    """

    def __init__(self, offset: int = 0, end: str = "zero"):
        if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
            raise InputError(f"offset must be a whole number from 0, not {offset!r}")
        self.offset, self.end = offset, check_end(end)

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        indices = self.offset + torch.arange(n_steps) * (schedule.T // n_steps)
        if indices[-1] >= schedule.T:
            raise InputError(f"offset {self.offset} leads {n_steps} steps to index {indices[-1]} of {schedule.T}")
        return times_of(indices, schedule, self.end)
