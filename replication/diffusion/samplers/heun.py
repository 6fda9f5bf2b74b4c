"""Heun's method on d(x/alpha)/d(sigma/alpha) = eps: Karras et al. 2022 (EDM), algorithms 1 and 2.

The step to sigma = 0 is Euler's, as published, so N steps that end there take 2N - 1 evaluations. So is the step from
alpha = 0, where sigma/alpha is infinite.
"""

from torch import Tensor

from replication.diffusion.churn import Churned
from replication.diffusion.exponential import hold_eps, log_snr_step
from replication.diffusion.sampler import DenoiseAt
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS


@SAMPLERS.register("heun")
class Heun(Churned):
    """Heun's method in sigma/alpha: order 2, with or without churn (Karras et al. 2022, EDM, algorithms 1 and 2).

    S_churn, S_tmin, S_tmax, S_noise: see Churned; S_churn 0, the default, is algorithm 1.
    """

    order, evals_per_step = 2, 2

    def step(
        self,
        denoise: DenoiseAt,
        schedule: NoiseSchedule,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        noise: Tensor | None,
        state: float,
    ) -> tuple[Tensor, float]:
        x, back = self.churn(schedule, x_t, t, s, noise, state)
        here = denoise(x, back)
        x_s = hold_eps(schedule, here, here.eps, back, s)
        if log_snr_step(schedule, t, s).isinf():
            return x_s, state
        there = denoise(x_s, s)
        return hold_eps(schedule, here, (here.eps + there.eps) / 2, back, s), state
