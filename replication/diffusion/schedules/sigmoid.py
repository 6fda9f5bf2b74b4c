"""Sigmoid alpha_bar: Jabri et al. 2022 (RIN), appendix; Chen 2023 ("On the importance of noise scheduling"), section 3.

Not what diffusers calls "sigmoid": that is sigmoid_beta here.
"""

import torch

from replication.diffusion.schedule import DiscreteSchedule, capped_betas, check_steps
from replication.registry import SCHEDULES
from replication.types import InputError


@SCHEDULES.register("sigmoid")
class Sigmoid(DiscreteSchedule):
    """alpha_bar falls along a sigmoid (Jabri et al. 2022, appendix; Chen 2023, section 3).

    alpha_bar(u) = (g(1) - g(u)) / (g(1) - g(0)), g(u) = sigmoid((start + u (end - start)) / tau).
    alpha_bar would reach 0 at u = 1, so the last beta is capped at `max_beta`, as for cosine. Raises InputError unless
    start < end and tau > 0.
    """

    def __init__(self, T: int = 1000, start: float = -3.0, end: float = 3.0, tau: float = 1.0, max_beta: float = 0.999):
        check_steps(T)
        if not (start < end and tau > 0):
            raise InputError(f"sigmoid needs start < end and tau > 0, not start = {start}, end = {end}, tau = {tau}")
        g = torch.sigmoid(torch.linspace(start, end, T + 1, dtype=torch.float64) / tau)
        super().__init__(capped_betas((g[-1] - g) / (g[-1] - g[0]), max_beta))
