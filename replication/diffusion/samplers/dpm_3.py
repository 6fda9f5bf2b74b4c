"""DPM-Solver-3: Lu et al. 2022a, algorithm 2, with r1 = 1/3 and r2 = 2/3: noise prediction, two stages in the step.

Both averages take the exact weight of their first moment. (diffusers takes 1/2 for the inner one, unless
solver_type is "heun".) A step to sigma = 0 or from alpha = 0 is of order 1 and takes one evaluation.
"""

from typing import Any

from torch import Tensor

from replication.diffusion.exponential import average, hold_eps, log_snr_step, moments
from replication.diffusion.sampler import DenoiseAt, Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS


@SAMPLERS.register("dpm_3")
class DPM3(Sampler):
    """DPM-Solver-3: order 3, eps predicted, three evaluations a step (Lu et al. 2022a, algorithm 2)."""

    order, stochastic, evals_per_step = 3, False, 3

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
        first, second = (schedule.time_at(schedule.half_log_snr(t) + r * h) for r in (1 / 3, 2 / 3))
        eps_1 = denoise(hold_eps(schedule, here, here.eps, t, first), first).eps
        towards = average([(0.0, here.eps), (0.5, eps_1)], 1.0, moments(2 / 3 * h, 1))
        eps_2 = denoise(hold_eps(schedule, here, towards, t, second), second).eps
        eps = average([(0.0, here.eps), (2 / 3, eps_2)], 1.0, moments(h, 1))
        return hold_eps(schedule, here, eps, t, s), state
