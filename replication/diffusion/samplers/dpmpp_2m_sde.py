"""SDE-DPM-Solver++(2M): Lu et al. 2022b, section 5, as k-diffusion (solver_type "midpoint") and diffusers have it.

2M's x0 is held while the reverse SDE adds noise of variance sigma_s^2 (1 - e^(-2 eta h)); eta 0 is 2M itself.
"""

import torch
from torch import Tensor

from replication.diffusion.exponential import average, hold_x0, log_snr_step, moments
from replication.diffusion.multistep import History, Multistep
from replication.diffusion.sampler import DenoiseAt
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS
from replication.types import InputError


@SAMPLERS.register("dpmpp_2m_sde")
class DPMpp2MSDE(Multistep):
    """SDE-DPM-Solver++(2M): 2M's x0 with fresh noise at every step (Lu et al. 2022b, section 5).

    eta: 1 in the paper; raises InputError if it is negative. lower_order_final: see Multistep.
    """

    order = 2

    def __init__(self, eta: float = 1.0, lower_order_final: str = "at-zero"):
        super().__init__(lower_order_final)
        if not eta >= 0:
            raise InputError(f"eta must not be negative, not {eta!r}")
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
        state: History,
    ) -> tuple[Tensor, History]:
        history = state.push(schedule.half_log_snr(t), denoise(x_t, t).x0, keep=2)
        h = log_snr_step(schedule, t, s)
        x0 = average(history.nodes, h, moments(0, len(history.nodes) - 1))
        x_s = hold_x0(schedule, x_t, x0, t, s, self.eta)
        if noise is None:
            return x_s, history
        return x_s + schedule.sigma(s) * (-torch.expm1(-2 * self.eta * h)).sqrt() * noise, history
