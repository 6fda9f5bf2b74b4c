"""DPM-Solver-2: Lu et al. 2022a, algorithm 1, with r1 = 1/2: noise prediction, one stage inside the step.

The stage lies in the middle of the step in half_log_snr. A step to sigma = 0 or from alpha = 0 has no middle: it is of
order 1 and takes one evaluation.
"""

from typing import Any

from torch import Tensor

from replication.diffusion.exponential import average, hold_eps, log_snr_step, moments
from replication.diffusion.sampler import DenoiseAt, Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS


@SAMPLERS.register("dpm_2")
class DPM2(Sampler):
    """DPM-Solver-2: order 2, eps predicted, two evaluations a step (Lu et al. 2022a, algorithm 1)."""

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
        h = log_snr_step(schedule, t, s)
        if h.isinf():
            return hold_eps(schedule, here, here.eps, t, s), state
        u = schedule.time_at(schedule.half_log_snr(t) + h / 2)
        middle = denoise(hold_eps(schedule, here, here.eps, t, u), u)
        eps = average([(0.0, here.eps), (0.5, middle.eps)], 1.0, moments(0, 1))
        return hold_eps(schedule, here, eps, t, s), state
