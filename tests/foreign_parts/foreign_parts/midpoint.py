"""The textbook midpoint rule on d(x/alpha)/d(sigma/alpha) = eps."""

from typing import Any

import torch
from torch import Tensor

from replication.diffusion.exponential import hold_eps
from replication.diffusion.sampler import DenoiseAt, Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS


@SAMPLERS.register("foreign-midpoint")
class Midpoint(Sampler):
    """The midpoint rule in sigma/alpha, of order 2 (Runge 1895)."""

    order, stochastic, evals_per_step = 2, False, 2

    def step(
        self,
        denoise: DenoiseAt,
        schedule: NoiseSchedule,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        noise: Tensor | None,
        state: Any,
    ) -> tuple[Tensor, Any]:
        here = denoise(x_t, t)
        ends = [torch.exp(-schedule.half_log_snr(time)) for time in (t, s)]
        if s == 0 or ends[0].isinf():
            return hold_eps(schedule, here, here.eps, t, s), state
        u = schedule.time_at(-((ends[0] + ends[1]) / 2).log())
        middle = denoise(hold_eps(schedule, here, here.eps, t, u), u)
        return hold_eps(schedule, here, middle.eps, t, s), state
