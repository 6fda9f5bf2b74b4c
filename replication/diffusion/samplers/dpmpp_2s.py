"""DPM-Solver++(2S): Lu et al. 2022b, algorithm 1, with r = 1/2: data prediction, one stage inside the step.

The stage lies in the middle of the step in half_log_snr, and its x0 alone is held over the step. A step to sigma = 0 or
from alpha = 0 is of order 1 and takes one evaluation (k-diffusion does likewise).
"""

from typing import Any

from torch import Tensor

from replication.diffusion.exponential import hold_x0, log_snr_step
from replication.diffusion.sampler import DenoiseAt, Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS


@SAMPLERS.register("dpmpp_2s")
class DPMpp2S(Sampler):
    """DPM-Solver++(2S): order 2, x0 predicted, two evaluations a step (Lu et al. 2022b, algorithm 1)."""

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
        x0 = denoise(x_t, t).x0
        h = log_snr_step(schedule, t, s)
        if not h.isinf():
            u = schedule.time_at(schedule.half_log_snr(t) + h / 2)
            x0 = denoise(hold_x0(schedule, x_t, x0, t, u), u).x0
        return hold_x0(schedule, x_t, x0, t, s), state
