"""PNDM as its paper has it (F-PNDM): Liu et al. 2022, algorithm 2, with the Runge-Kutta start of equation 13.

The first three steps are of the classical Runge-Kutta method, whose weights are Simpson's, and take four evaluations
each: at t, twice in the middle of the step in t (the network gets the fraction where that is none of its timesteps)
and at s. The others are those of `plms`, from four values. So N steps take N + 9.

A step from alpha = 0 or to sigma = 0 has no inside: it looks back on the values that there are, and takes one
evaluation, as does a repeated time. Three steps to t = 0 therefore take two Runge-Kutta steps.

Order 2 for the reason that `plms` is; where sigma/alpha is proportional to t (VE) it is Runge-Kutta and Adams-Bashforth
to the letter, of order 4.
"""

import itertools
import math

from torch import Tensor

from replication.diffusion.exponential import Node, hold_eps, log_snr_step
from replication.diffusion.multistep import History
from replication.diffusion.sampler import DenoiseAt
from replication.diffusion.samplers.plms import PLMS
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS
from replication.types import Prediction


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
