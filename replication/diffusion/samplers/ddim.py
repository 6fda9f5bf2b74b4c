"""DDIM: Song et al. 2021, equations 12 and 16.

x_s = alpha_s x0 + sqrt(sigma_s^2 - c^2) eps + c noise,   c = eta * (standard deviation of q(x_s|x_t,x_0))
"""

from typing import Any

from torch import Tensor

from replication.diffusion.forward import posterior
from replication.diffusion.sampler import DenoiseAt, Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS
from replication.types import InputError, per_image


@SAMPLERS.register("ddim")
class DDIM(Sampler):
    """DDIM, deterministic at eta 0, ancestral fixed-small at eta 1 (Song et al. 2021, equations 12 and 16).

    eta 0 is of order 1. InputError outside [0, 1].
    """

    order, evals_per_step = 1, 1

    def __init__(self, eta: float = 0.0):
        if not 0 <= eta <= 1:
            raise InputError(f"eta must be in [0, 1], not {eta!r}")
        self.eta = eta
        self.stochastic = eta > 0

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
        x0, eps = denoise(x_t, t)[:2]
        variance = self.eta**2 * posterior(schedule, x_t, x0, t, s)[1]
        alpha, direction = schedule.alpha(s), (schedule.sigma(s) ** 2 - variance).sqrt()
        x_s = per_image(alpha, x_t) * x0 + per_image(direction, x_t) * eps
        return x_s if noise is None else x_s + per_image(variance.sqrt(), x_t) * noise, state
