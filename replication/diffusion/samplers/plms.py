"""Pseudo linear multistep: Liu et al. 2022 (PNDM), equation 12, started as the LDM code starts it.

The eps that is held is that of Adams-Bashforth with equal steps of t, up to four values. The first step is Heun's on
eps and takes two evaluations, unless its length in half_log_snr is infinite; so N steps take N + 1.

Order 2, because eps is averaged over t but held over sigma/alpha (the paper's theorem); on unequal steps, order 1.
"""

from torch import Tensor

from replication.diffusion.exponential import average, hold_eps, log_snr_step, moments
from replication.diffusion.multistep import History
from replication.diffusion.sampler import DenoiseAt, Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS


@SAMPLERS.register("plms")
class PLMS(Sampler):
    """No options."""

    order, local_order, stochastic, evals_per_step = 2, 1, False, 1

    def init(self, times: Tensor | None = None) -> History:
        return History()

    def nfe(self, schedule: NoiseSchedule, times: Tensor) -> int:
        first = log_snr_step(schedule, times[0], times[1])
        return super().nfe(schedule, times) + (0 if first.isinf() else 1)

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
        prediction = denoise(x_t, t)
        history = state.push(schedule.half_log_snr(t), prediction.eps, keep=4)
        nodes = [(float(-age), eps) for age, (_, eps) in enumerate(history.nodes)]
        if not state.nodes and not log_snr_step(schedule, t, s).isinf():
            nodes.append((1.0, denoise(hold_eps(schedule, prediction, prediction.eps, t, s), s).eps))
        eps = average(nodes, 1.0, moments(0, len(nodes) - 1))
        return hold_eps(schedule, prediction, eps, t, s), history
