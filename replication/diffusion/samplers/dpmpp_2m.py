"""DPM-Solver++(2M): Lu et al. 2022b, algorithm 2: data prediction, one past value.

    x0 held = x0 + (h / (2 h_0)) (x0 - past x0),   h_0 the step before

The first step is of order 1: DDIM's.
"""

from torch import Tensor

from replication.diffusion.exponential import average, hold_x0, log_snr_step, moments
from replication.diffusion.multistep import History, Multistep
from replication.diffusion.sampler import DenoiseAt
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS


@SAMPLERS.register("dpmpp_2m")
class DPMpp2M(Multistep):
    """DPM-Solver++(2M): order 2, x0 predicted, one past value (Lu et al. 2022b, algorithm 2).

    lower_order_final: see Multistep.
    """

    order, values = 2, 2

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
        return hold_x0(schedule, x_t, x0, t, s), history

    def moments(self, h: Tensor, past: int) -> list[float]:
        """The weight is simplified to be uniform, as published."""
        return moments(0, past)
