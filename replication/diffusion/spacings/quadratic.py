"""Quadratic spacing, as the DDIM code has it: the rule behind the published CIFAR-10 rows (appendix D.2)."""

import math

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.diffusion.spacing import Spacing, times_of
from replication.registry import SPACINGS


@SPACINGS.register("quadratic")
class Quadratic(Spacing):
    """The DDIM code's quadratic rule, denser near the data: published CIFAR-10 rows (Song et al. 2021, appendix D.2).

    Indices int(linspace(0, sqrt(0.8 T), n_steps)^2): sampling starts at 0.8 T, where noise is not yet pure.

    Truncation repeats some indices (100 of 1000 steps have 96 distinct ones). They are kept, as published: a repeated
    time is an identity step for DDIM with eta 0, and costs one evaluation all the same.
    """

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        top = math.sqrt(schedule.T * 0.8)
        # numpy's linspace, operation by operation: truncation makes the last bit matter (6, 11 and 21 steps)
        roots = torch.arange(n_steps, dtype=torch.float64) * (top / max(n_steps - 1, 1))
        if n_steps > 1:
            roots[-1] = top
        return times_of((roots * roots).long(), schedule)
