"""Linear multistep: the polynomial through the last values of eps is averaged over the step, and the average is held.

`lms` is Adams-Bashforth on d(x/alpha)/d(sigma/alpha) = eps with unequal steps, as k-diffusion has it: the polynomial is
integrated exactly. The first steps are of order 1, 2, ..., so whole trajectories are of order 2 at most.

Pseudo linear multistep (Liu et al. 2022, PNDM, equation 12) has equal steps of t in its place. `plms` starts as the LDM code
does: the first step is Heun's on eps and takes two evaluations, unless its length in half_log_snr is infinite; so N steps
take N + 1. `pndm` starts as the paper does (F-PNDM, algorithm 2, equation 13): the first three steps are of the classical
Runge-Kutta method, whose weights are Simpson's, and take four evaluations each: at t, twice in the middle of the step in t
(the network gets the fraction where that is none of its timesteps) and at s. So N steps take N + 9. A step from alpha = 0
or to sigma = 0 has no inside: it looks back on the values that there are, and takes one evaluation, as does a repeated time.
Three steps to t = 0 therefore take two Runge-Kutta steps.

Both are of order 2, because eps is averaged over t but held over sigma/alpha (the paper's theorem), and on unequal steps of
order 1; where sigma/alpha is proportional to t (VE) `pndm` is Runge-Kutta and Adams-Bashforth to the letter, of order 4.
"""

import itertools
import math

import torch
from torch import Tensor

from replication.diffusion.exponential import Node, average, hold_eps, log_snr_step, moments
from replication.diffusion.sampler import DenoiseAt, Sampler
from replication.diffusion.samplers.multistep import History
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS
from replication.types import InputError, Prediction


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


@SAMPLERS.register("pndm")
class PNDM(PLMS):
    """PNDM as its paper has it, with the Runge-Kutta start (Liu et al. 2022, algorithm 2, F-PNDM)."""

    def nfe(self, schedule: NoiseSchedule, times: Tensor) -> int:
        lengths = [float(log_snr_step(schedule, t, s)) for t, s in itertools.pairwise(times.double())]
        return len(lengths) + 3 * min(sum(0 < h < math.inf for h in lengths), 3)

    def starts(self, before: History, now: History) -> bool:
        return len(now.nodes) < 4

    def start(self, denoise: DenoiseAt, schedule: NoiseSchedule, here: Prediction, t: Tensor, s: Tensor) -> list[Node]:
        def eps_at(u: Tensor, held: Tensor) -> Tensor:
            return denoise(hold_eps(schedule, here, held, t, u), u).eps

        middle = (t + s) / 2
        first = eps_at(middle, here.eps)
        second = eps_at(middle, first)
        return [(0.0, here.eps), (0.5, (first + second) / 2), (1.0, eps_at(s, second))]
