"""Rectified flow as Stable Diffusion 3 and FLUX train it: Esser et al. 2024, section 3.1 and equation 19.

    loss = |network(x_t, t) - (eps - x0)|^2,   t = sigmoid(u),  u ~ N(mean, std^2)

The straight line is schedule "flow", and the network's answer its velocity: parameterization "velocity". Times in the
middle, where the velocity is hardest to predict, are drawn most often; none is on a grid.
"""

import torch
from torch import Tensor

from replication.diffusion.objectives.simple import Simple
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import OBJECTIVES
from replication.types import InputError


@OBJECTIVES.register("rectified-flow")
class RectifiedFlow(Simple):
    """Rectified flow with logit-normal times (Esser et al. 2024, Stable Diffusion 3, equation 19).

    mean < 0 favours times near the data, and > 0 near the noise; raises InputError unless std is positive.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0):
        if not std > 0:
            raise InputError(f"objective 'rectified-flow': std must be positive, not {std}")
        self.mean, self.std = mean, std

    def draw_times(self, n: int, schedule: NoiseSchedule, device: torch.device) -> Tensor:
        """Logit-normal, Float[n] in float64."""
        return torch.sigmoid(self.mean + self.std * torch.randn(n, device=device, dtype=torch.float64))
