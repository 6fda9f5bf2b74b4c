"""Pseudo linear multistep: Liu et al. 2022 (PNDM), equation 12, started as the LDM code starts it.

The eps that is held is that of Adams-Bashforth with equal steps of t, up to four values. The first step is Heun's on
eps and takes two evaluations, unless its length in half_log_snr is infinite; so N steps take N + 1. The paper's own
start is `pndm`.

Order 2, because eps is averaged over t but held over sigma/alpha (the paper's theorem); on unequal steps, order 1.
"""

import itertools
import math

from torch import Tensor

from replication.diffusion.exponential import Node, average, hold_eps, log_snr_step, moments
from replication.diffusion.multistep import History
from replication.diffusion.sampler import DenoiseAt, Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS
from replication.types import Prediction


@SAMPLERS.register("plms")
class PLMS(Sampler):
    """Pseudo linear multistep of up to four values, started as the LDM code does (Liu et al. 2022, equation 12)."""

    order, local_order, stochastic, evals_per_step = 2, 1, False, 1

    def init(self, times: Tensor | None = None) -> History:
        return History()

    def nfe(self, schedule: NoiseSchedule, times: Tensor) -> int:
        lengths = (float(log_snr_step(schedule, t, s)) for t, s in itertools.pairwise(times.double()))
        first = next((h for h in lengths if h > 0), math.inf)
        return super().nfe(schedule, times) + (0 if math.isinf(first) else 1)

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
        here = denoise(x_t, t)
        history = state.push(schedule.half_log_snr(t), here.eps, keep=4)
        nodes: list[Node] = [(float(-age), eps) for age, (_, eps) in enumerate(history.nodes)]
        if self.starts(state, history) and 0 < log_snr_step(schedule, t, s) < math.inf:
            nodes = self.start(denoise, schedule, here, t, s)
        eps = average(nodes, 1.0, moments(0, len(nodes) - 1))
        return hold_eps(schedule, here, eps, t, s), history

    def starts(self, before: History, now: History) -> bool:
        """Whether a step from the history `now`, which was `before`, looks inside itself and not back."""
        return all(lam == now.nodes[0][0] for lam, _ in before.nodes)

    def start(self, denoise: DenoiseAt, schedule: NoiseSchedule, here: Prediction, t: Tensor, s: Tensor) -> list[Node]:
        """What such a step averages: eps at places in t, 0 where it begins and 1 where it ends."""
        return [(0.0, here.eps), (1.0, denoise(hold_eps(schedule, here, here.eps, t, s), s).eps)]
