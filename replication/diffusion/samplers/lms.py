"""Linear multistep: Adams-Bashforth on d(x/alpha)/d(sigma/alpha) = eps with unequal steps, as k-diffusion has it.

The polynomial through the last values is integrated exactly. The first steps are of order 1, 2, ..., so whole
trajectories are of order 2 at most.
"""

import torch
from torch import Tensor

from replication.diffusion.exponential import average, hold_eps, moments
from replication.diffusion.multistep import History
from replication.diffusion.sampler import DenoiseAt, Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS
from replication.types import InputError


@SAMPLERS.register("lms")
class LMS(Sampler):
    """Linear multistep (Adams-Bashforth) in sigma/alpha, up to four values, as k-diffusion has it.

    order: how many values are used, 1 to 4; raises InputError for another number.
    """

    stochastic, evals_per_step = False, 1

    def __init__(self, order: int = 4):
        if order not in (1, 2, 3, 4):
            raise InputError(f"order must be 1, 2, 3 or 4, not {order!r}")
        self.order, self.local_order, self.values = min(order, 2), order, order

    def init(self, times: Tensor | None = None) -> History:
        return History()

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
        history = state.push(schedule.half_log_snr(t), prediction.eps, keep=self.values)
        nodes = [(torch.exp(-lam), eps) for lam, eps in history.nodes]  # places in sigma/alpha
        length = torch.exp(-schedule.half_log_snr(s)) - nodes[0][0]
        eps = average(nodes, length, moments(0, len(nodes) - 1))
        return hold_eps(schedule, prediction, eps, t, s), history
