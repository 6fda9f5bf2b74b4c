"""Quadratic spacing, as the DDIM code has it: the rule behind the published CIFAR-10 rows."""

import math
from typing import Any

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.diffusion.spacing import Spacing, times_of
from replication.registry import SPACINGS
from replication.types import InputError

CODE = 0.8  # the share of T at which the official code begins


@SPACINGS.register("quadratic")
class Quadratic(Spacing):
    """The DDIM code's quadratic rule, denser near the data: published CIFAR-10 rows (Song et al. 2021).

    Indices int(linspace(0, sqrt(top T), n_steps)^2). The paper, appendix D.2, says of its constant only that the first time
    visited is close to T; top = 0.8 is the official code's, so that sampling starts where noise is not yet pure. Raises
    InputError for a top outside (0, 1], or one that leads to index T.

    Truncation repeats some indices (100 of 1000 steps have 96 distinct ones). They are kept, as published: a repeated
    time is an identity step for DDIM with eta 0, and costs one evaluation all the same.
    """

    def __init__(self, top: float = CODE):
        if not 0 < top <= 1:
            raise InputError(f"spacing 'quadratic': top = {top} is no share of T, which is above 0 and at most 1")
        self.top = top

    @staticmethod
    def identified(options: dict[str, Any]) -> dict[str, Any]:
        """The options in keys: the code's own is left out, so that rows from before it could be changed keep theirs."""
        return {name: value for name, value in options.items() if value != CODE}

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        last = math.sqrt(schedule.T * self.top)
        # numpy's linspace, operation by operation: truncation makes the last bit matter (6, 11 and 21 steps)
        roots = torch.arange(n_steps, dtype=torch.float64) * (last / max(n_steps - 1, 1))
        if n_steps > 1:
            roots[-1] = last
        indices = (roots * roots).long()
        if indices[-1] >= schedule.T:
            raise InputError(f"spacing 'quadratic': top = {self.top} leads to index {schedule.T}, one too many")
        return times_of(indices, schedule)
