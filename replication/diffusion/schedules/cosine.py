"""Cosine alpha_bar: Nichol and Dhariwal 2021 (IDDPM), equation 17."""

import math

import torch

from replication.diffusion.schedule import DiscreteSchedule, capped_betas, check_steps
from replication.registry import SCHEDULES


@SCHEDULES.register("cosine")
class Cosine(DiscreteSchedule):
    """alpha_bar falls as cos^2((u + s)/(1 + s) pi/2), each beta capped (Nichol and Dhariwal 2021, equation 17).

    At T = 1000 only the last beta meets the cap, and the last alpha_bar is 2.4e-9.
    """

    def __init__(self, T: int = 1000, s: float = 0.008, max_beta: float = 0.999):
        check_steps(T)
        u = torch.arange(T + 1, dtype=torch.float64) / T
        f = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
        super().__init__(capped_betas(f, max_beta))
