"""Identities of the mathematics, as their largest deviation in float64: Ho et al. 2020, equations 4, 12 and 14.

x_t can be drawn directly: the moments of T steps of q(x_t|x_s), multiplied out, against the closed form. And noise prediction
is a mean squared error:

    L_{k-1} = w_k |eps - eps_theta|^2,  w_k = beta_k^2 / (2 sigma_k^2 (1 - beta_k) (1 - alpha_bar_k)),  k >= 2

with sigma_k^2 the posterior's variance, where the two variances of the KL cancel; L_simple leaves w_k out. A network
that is no good at all must do for the identity: here x_t itself, squashed, is taken for the noise.
"""

import math
from typing import Any

import torch
from torch import Tensor

from replication.diffusion.bound import bound_term
from replication.diffusion.denoiser import Denoiser
from replication.diffusion.forward import marginal, transition
from replication.diffusion.schedule import DiscreteSchedule
from replication.quantities.quantity import Quantity
from replication.registry import OBJECTIVES, QUANTITIES, SCHEDULES
from replication.settings import Part

SHAPE = (3, 8, 8)  # of the random images, one for each time


@QUANTITIES.register("marginal_deviation")
class MarginalDeviation(Quantity):
    """How far T steps of q(x_t|x_s) are from the closed form (Ho et al. 2020, equation 4).

    The largest deviation over all t of the scale and of the variance of x_t; schedule: a name or a table.
    """

    def __init__(self, schedule: str | dict[str, Any]):
        part = Part.model_validate(schedule)
        self.schedule = part.build(SCHEDULES)
        self.title = str(part)
        self.formula = f"magnitude of the largest deviation of scale and variance, {self.schedule.T} steps"

    def value(self) -> float:
        T = self.schedule.T
        scale, variance, worst = torch.ones(()).double(), torch.zeros(()).double(), 0.0
        for k in range(1, T + 1):
            s, t = torch.tensor((k - 1) / T).double(), torch.tensor(k / T).double()
            step_scale, step_variance = transition(self.schedule, s, t)
            scale, variance = step_scale * scale, step_scale**2 * variance + step_variance
            of_scale = (scale - self.schedule.alpha(t)).abs()
            of_variance = (variance - self.schedule.sigma(t) ** 2).abs()
            worst = max(worst, float(of_scale), float(of_variance))
        return magnitude(worst)


class _OnRandomData(Quantity):
    """A loss of the denoiser against what it should be, on the times k/T for k = 2..T of the schedule `linear`."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.schedule: DiscreteSchedule = SCHEDULES.build("linear", T=1000)
        self.k = torch.arange(2, self.schedule.T + 1)  # [B]
        self.t = self.k.double() / self.schedule.T
        self.x0 = torch.rand(len(self.k), *SHAPE, generator=generator, dtype=torch.float64) * 2 - 1
        self.noise = torch.randn(self.x0.shape, generator=generator, dtype=torch.float64)
        self.denoiser = Denoiser(lambda x, timestep, cond: torch.tanh(x), self.schedule, parameterization="eps")

    def squared_error(self) -> Tensor:
        """|eps - eps_theta|^2, mean over pixels, [B]."""
        eps = torch.tanh(marginal(self.schedule, self.x0, self.t, self.noise))
        return (eps - self.noise).square().flatten(1).mean(dim=1)


@QUANTITIES.register("simple_loss_deviation")
class SimpleLossDeviation(_OnRandomData):
    """How far `simple` is from the squared error of the noise (Ho et al. 2020, equation 14), at most over all t."""

    title = "the simple objective"
    formula = "magnitude of the largest relative deviation from the mean squared error of eps"

    def value(self) -> float:
        loss = OBJECTIVES.build("simple")(self.denoiser, self.x0, None, self.t, self.noise)
        return _deviation(loss, self.squared_error())


@QUANTITIES.register("bound_deviation")
class BoundDeviation(_OnRandomData):
    """How far the bound is from the weighted error of the noise (Ho et al. 2020, equation 12), at most over t > 1/T."""

    title = "the bound, term by term"
    formula = "magnitude of the largest relative deviation from w_k times the mean squared error of eps"

    def value(self) -> float:
        x_t = marginal(self.schedule, self.x0, self.t, self.noise)
        nats = bound_term(self.denoiser, "fixed-small", self.x0, x_t, self.t) * math.log(2)
        return _deviation(nats, self._weight() * self.squared_error())

    def _weight(self) -> Tensor:
        """w_k, [B], from the betas alone."""
        beta, bar = self.schedule.betas[self.k - 1], self.schedule.alphas_cumprod[self.k - 1]
        variance = beta * (1 - self.schedule.alphas_cumprod[self.k - 2]) / (1 - bar)
        return beta**2 / (2 * variance * (1 - beta) * (1 - bar))


def _deviation(values: Tensor, expected: Tensor) -> float:
    return magnitude(float((values / expected - 1).abs().max()))


def magnitude(deviation: float) -> float:
    """The next power of ten, 0 for none: how a deviation of rounding alone is printed, since its digits are a machine's."""
    return 10.0 ** math.ceil(math.log10(deviation)) if deviation else 0.0
