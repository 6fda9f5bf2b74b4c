"""Sigmoid-shaped betas: Xu et al. 2022 (GeoDiff), and what diffusers calls "sigmoid"."""

import torch

from replication.diffusion.schedule import DiscreteSchedule, check_steps
from replication.registry import SCHEDULES


@SCHEDULES.register("sigmoid_beta")
class SigmoidBeta(DiscreteSchedule):
    """Betas rise along a sigmoid over [-6, 6] (Xu et al. 2022, GeoDiff); diffusers calls it "sigmoid"."""

    def __init__(self, T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02):
        check_steps(T)
        rise = torch.sigmoid(torch.linspace(-6, 6, T, dtype=torch.float64))
        super().__init__(beta_start + (beta_end - beta_start) * rise)
