"""Linear in sqrt(beta): Rombach et al. 2022 (LDM), whose configuration calls it "linear"; also known as quadratic.

The ends differ by model: 0.0015 to 0.0195 for CelebA-HQ, FFHQ, bedrooms and ImageNet, 0.00085 to 0.012 for the
text-to-image model and Stable Diffusion, which is the default here.
"""

import torch

from replication.diffusion.schedule import DiscreteSchedule, check_steps
from replication.registry import SCHEDULES


@SCHEDULES.register("scaled_linear", "quadratic")
class ScaledLinear(DiscreteSchedule):
    """sqrt(beta) evenly spaced, both ends included: LDM's own, also known as quadratic (Rombach et al. 2022)."""

    def __init__(self, T: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012):
        check_steps(T)
        super().__init__(torch.linspace(beta_start**0.5, beta_end**0.5, T, dtype=torch.float64) ** 2)
