"""DPM-Solver++ of past values: Lu et al. 2022b, algorithm 2 (2M) and section 5 (its SDE), and a third order.

    x0 held = x0 + (h / (2 h_0)) (x0 - past x0),   h_0 the step before

The first step is of order 1, DDIM's, and of 3M the second one is 2M's. Under the SDE, as k-diffusion (solver_type
"midpoint") and diffusers have it, 2M's x0 is held while noise of variance sigma_s^2 (1 - e^(-2 eta h)) is added.

Everyone's third-order multistep update (the official code's multistep_dpm_solver_third_update, diffusers', and
k-diffusion's sample_dpmpp_3m_sde) multiplies the coefficient of h^2 x0'' by a divided difference, which is half of it.
So what goes by the name 3M is of local order 2. With weights "exact" the coefficient is right and the local order is 3;
whole trajectories are then of order 2 all the same, because the first step is of order 1.
"""

import torch
from torch import Tensor

from replication.diffusion.exponential import average, hold_x0, log_snr_step, moments
from replication.diffusion.multistep import History, Multistep
from replication.diffusion.sampler import DenoiseAt
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS, unknown
from replication.types import InputError


@SAMPLERS.register("dpmpp_2m")
class DPMpp2M(Multistep):
    """DPM-Solver++(2M): order 2, x0 predicted, one past value (Lu et al. 2022b, algorithm 2).

    lower_order_final: see Multistep.
    """

    order, values, eta = 2, 2, 0.0

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
        history = state.push(schedule.half_log_snr(t), denoise(x_t, t).x0, keep=self.values)
        h, past = log_snr_step(schedule, t, s), len(history.nodes) - 1
        x0 = average(history.nodes, h, self.moments(h, past))
        x_s = hold_x0(schedule, x_t, x0, t, s, self.eta)
        if noise is None:
            return x_s, history
        return x_s + schedule.sigma(s) * (-torch.expm1(-2 * self.eta * h)).sqrt() * noise, history

    def moments(self, h: Tensor, past: int) -> list[float]:
        """The weight is simplified to be uniform, as published."""
        return moments(0, past)


@SAMPLERS.register("dpmpp_2m_sde")
class DPMpp2MSDE(DPMpp2M):
    """SDE-DPM-Solver++(2M): 2M's x0 with fresh noise at every step (Lu et al. 2022b, section 5).

    eta: 1 in the paper, 0 is 2M itself; raises InputError if it is negative. lower_order_final: see Multistep.
    """

    def __init__(self, eta: float = 1.0, lower_order_final: str = "at-zero"):
        super().__init__(lower_order_final)
        if not eta >= 0:
            raise InputError(f"eta must not be negative, not {eta!r}")
        self.eta = eta
        self.stochastic = eta > 0


@SAMPLERS.register("dpmpp_3m")
class DPMpp3M(DPMpp2M):
    """DPM-Solver++(3M): x0 predicted, two past values, as the official code has it (Lu et al. 2022b).

    weights: published or exact; lower_order_final: see Multistep. Raises InputError for other names.
    """

    values = 3

    def __init__(self, weights: str = "published", lower_order_final: str = "at-zero"):
        super().__init__(lower_order_final)
        if weights not in ("published", "exact"):
            raise unknown("weights", weights, ["published", "exact"])
        self.weights, self.local_order = weights, 3 if weights == "exact" else 2

    def moments(self, h: Tensor, past: int) -> list[float]:
        if past < 2:
            return super().moments(h, past)
        first, second = moments(-h, 2)
        return [first, second if self.weights == "exact" else second / 2]
