"""What a network's output means, and how it becomes (x0, eps). Converted here, once: no sampler asks again.

eps       the noise                                Ho et al. 2020, equation 11
x0        the clean image                          Ho et al. 2020, section 3.2
v         alpha eps - sigma x0                     Salimans and Ho 2022, appendix D
velocity  eps - x0, the slope of a straight line   Liu et al. 2022 (rectified flow), whose sign is the opposite
mean      the mean of q(x_s|x_t,x_0), s = t - 1/T  Ho et al. 2020, Table 2, "mu-tilde prediction"

Where alpha is 0 (t = 1 of flow, zero_terminal_snr and jsd) eps says nothing about x0, and `Denoiser` refuses the pair.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from replication.diffusion.forward import posterior
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import one_of
from replication.types import Prediction, per_image


class Parameterization(ABC):
    """Two directions: a network's output to a Prediction, and a (true) Prediction to the output it should have been."""

    needs_signal = False  # whether reading x0 divides by alpha

    @abstractmethod
    def prediction(self, output: Tensor, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Prediction:
        """(x0, eps) with x_t = alpha x0 + sigma eps, all [B,C,H,W]."""

    @abstractmethod
    def output(self, p: Prediction, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
        """The output that says p, [B,C,H,W]: with the true (x0, eps), the regression target."""


class Eps(Parameterization):
    needs_signal = True

    def prediction(self, output: Tensor, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Prediction:
        alpha, sigma = _coefficients(schedule, t, x_t)
        return Prediction((x_t - sigma * output) / alpha, output)

    def output(self, p: Prediction, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
        return p.eps


class X0(Parameterization):
    def prediction(self, output: Tensor, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Prediction:
        return Prediction(output, eps_of(output, x_t, t, schedule))

    def output(self, p: Prediction, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
        return p.x0


class V(Parameterization):
    def prediction(self, output: Tensor, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Prediction:
        alpha, sigma = _coefficients(schedule, t, x_t)
        norm = alpha**2 + sigma**2  # 1 on variance-preserving paths
        return Prediction((alpha * x_t - sigma * output) / norm, (sigma * x_t + alpha * output) / norm)

    def output(self, p: Prediction, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
        alpha, sigma = _coefficients(schedule, t, x_t)
        return alpha * p.eps - sigma * p.x0


class Velocity(Parameterization):
    def prediction(self, output: Tensor, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Prediction:
        alpha, sigma = _coefficients(schedule, t, x_t)
        both = alpha + sigma  # 1 on the straight line
        return Prediction((x_t - sigma * output) / both, (x_t + alpha * output) / both)

    def output(self, p: Prediction, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
        return p.eps - p.x0


class Mean(Parameterization):
    def prediction(self, output: Tensor, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Prediction:
        s = _before(t, schedule)
        of_x_t, _ = posterior(schedule, x_t, torch.zeros_like(x_t), t, s)  # the mean is linear in (x_t, x_0)
        of_x_0, _ = posterior(schedule, torch.zeros_like(x_t), torch.ones_like(x_t), t, s)
        x0 = (output - of_x_t) / of_x_0
        return Prediction(x0, eps_of(x0, x_t, t, schedule))

    def output(self, p: Prediction, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
        return posterior(schedule, x_t, p.x0, t, _before(t, schedule))[0]


def _before(t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """One step of the grid earlier, and at the least 0: a stage that lies at 1/T but for rounding is before no time."""
    return (t - 1 / schedule.T).clamp(min=0)


PARAMETERIZATIONS: dict[str, Parameterization] = {
    "eps": Eps(),
    "x0": X0(),
    "v": V(),
    "velocity": Velocity(),
    "mean": Mean(),
}


def named(name: str) -> Parameterization:
    """The parameterization of that name; raises InputError with the nearest one."""
    return PARAMETERIZATIONS[one_of("parameterization", name, sorted(PARAMETERIZATIONS))]


def eps_of(x0: Tensor, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """The eps that goes with x0 at x_t: (x_t - alpha x0) / sigma."""
    alpha, sigma = _coefficients(schedule, t, x_t)
    return (x_t - alpha * x0) / sigma


def _coefficients(schedule: NoiseSchedule, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    return per_image(schedule.alpha(t), x), per_image(schedule.sigma(t), x)
