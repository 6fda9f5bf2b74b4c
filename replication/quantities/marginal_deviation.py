"""x_t can be drawn directly: the moments of T steps of q(x_t|x_s), multiplied out, against the closed form."""

from typing import Any

import torch

from replication.diffusion.forward import transition
from replication.quantities.quantity import Quantity, magnitude
from replication.registry import QUANTITIES, SCHEDULES
from replication.settings import Part


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
