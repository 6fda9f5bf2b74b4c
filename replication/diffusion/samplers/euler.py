"""Euler's method on d(x/alpha)/d(sigma/alpha) = eps: Karras et al. 2022 (EDM), algorithm 1 without its correction.

Without churn it is DDIM with eta 0, on any path, and on the straight-line path x_s = x_t + (s - t) velocity.
"""

from torch import Tensor

from replication.diffusion.churn import Churned
from replication.diffusion.exponential import hold_eps
from replication.diffusion.sampler import DenoiseAt
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS


@SAMPLERS.register("euler")
class Euler(Churned):
    """Euler's method in sigma/alpha, with or without churn (Karras et al. 2022, EDM, algorithm 1).

    S_churn, S_tmin, S_tmax, S_noise: see Churned. The network is asked at the churned time, as k-diffusion does.
    """

    order, evals_per_step = 1, 1

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
        prediction = denoise(x, back)
        return hold_eps(schedule, prediction, prediction.eps, back, s), state
