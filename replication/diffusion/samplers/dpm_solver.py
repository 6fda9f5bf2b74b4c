"""DPM-Solver and DPM-Solver++ with stages inside the step: Lu et al. 2022a, algorithms 1 and 2; 2022b, algorithm 1.

A stage lies at a share of the step in half_log_snr. A step to sigma = 0 or from alpha = 0 has no inside: it is of order 1
and takes one evaluation (k-diffusion does likewise).
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

from replication.diffusion.exponential import average, hold_eps, hold_x0, log_snr_step, moments
from replication.diffusion.sampler import DenoiseAt, Noise, Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS


class _OfEps(Sampler):
    """Noise prediction: an eps is held over the step."""

    stochastic = False

    def step(
        self, denoise: DenoiseAt, schedule: NoiseSchedule, x_t: Tensor, t: Tensor, s: Tensor, noise: Noise, state: Any
    ) -> tuple[Tensor, Any]:
        here, h = denoise(x_t, t), log_snr_step(schedule, t, s)

        def stage(share: float, eps: Tensor) -> Tensor:
            u = schedule.time_at(schedule.half_log_snr(t) + share * h)
            return denoise(hold_eps(schedule, here, eps, t, u), u).eps

        eps = here.eps if h.isinf() else self.held(here.eps, stage, h)
        return hold_eps(schedule, here, eps, t, s), state

    @abstractmethod
    def held(self, eps: Tensor, stage: Callable[[float, Tensor], Tensor], h: Tensor) -> Tensor:
        """What is held, [B,C,H,W], over a step of length h that begins with `eps`.

        `stage` gives the eps at a share of the step, reached by holding the one that it is called with.
        """


@SAMPLERS.register("dpm_2")
class DPM2(_OfEps):
    """DPM-Solver-2: order 2, eps predicted, two evaluations a step (Lu et al. 2022a, algorithm 1).

    r1 is 1/2: the stage lies in the middle.
    """

    order, evals_per_step = 2, 2

    def held(self, eps: Tensor, stage: Callable[[float, Tensor], Tensor], h: Tensor) -> Tensor:
        return average([(0.0, eps), (0.5, stage(0.5, eps))], 1.0, moments(0, 1))


@SAMPLERS.register("dpm_3")
class DPM3(_OfEps):
    """DPM-Solver-3: order 3, eps predicted, three evaluations a step (Lu et al. 2022a, algorithm 2).

    r1 is 1/3 and r2 2/3. Both averages take the exact weight of their first moment; diffusers takes 1/2 for the inner one,
    unless solver_type is "heun".
    """

    order, evals_per_step = 3, 3

    def held(self, eps: Tensor, stage: Callable[[float, Tensor], Tensor], h: Tensor) -> Tensor:
        towards = average([(0.0, eps), (0.5, stage(1 / 3, eps))], 1.0, moments(2 / 3 * h, 1))
        return average([(0.0, eps), (2 / 3, stage(2 / 3, towards))], 1.0, moments(h, 1))


@SAMPLERS.register("dpmpp_2s")
class DPMpp2S(Sampler):
    """DPM-Solver++(2S): order 2, x0 predicted, two evaluations a step (Lu et al. 2022b, algorithm 1).

    r is 1/2: the x0 of the stage in the middle is held over the step.
    """

    order, stochastic, evals_per_step = 2, False, 2

    def step(
        self, denoise: DenoiseAt, schedule: NoiseSchedule, x_t: Tensor, t: Tensor, s: Tensor, noise: Noise, state: Any
    ) -> tuple[Tensor, Any]:
        x0, h = denoise(x_t, t).x0, log_snr_step(schedule, t, s)
        if not h.isinf():
            u = schedule.time_at(schedule.half_log_snr(t) + h / 2)
            x0 = denoise(hold_x0(schedule, x_t, x0, t, u), u).x0
        return hold_x0(schedule, x_t, x0, t, s), state
