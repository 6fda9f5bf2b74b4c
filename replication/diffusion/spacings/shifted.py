"""Times of the straight line, shifted towards the noise: Esser et al. 2024 (arXiv:2403.03206), section 5.3.2."""

from typing import Literal

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.diffusion.spacing import Spacing
from replication.registry import SPACINGS
from replication.types import InputError


@SPACINGS.register("shifted")
class Shifted(Spacing):
    """shift t / (1 + (shift - 1) t) of evenly spaced t, and then 0: more steps near the noise (Esser et al. 2024, equation 23).

    start: the smallest t before 0. "grid" is 1/T under the same shift, diffusers' own for Stable Diffusion 3, with shift = 3;
    "even" is 1/n_steps, as its pipeline gives them for FLUX, where shift is exp(mu) of the image's size: 1 for schnell, and for
    dev from exp(0.5) at 256 patches to exp(1.15) at 4096. Raises InputError for a shift that is not positive.
    """

    def __init__(self, shift: float = 3.0, start: Literal["grid", "even"] = "grid"):
        if not shift > 0:
            raise InputError(f"spacing 'shifted': shift must be above 0, not {shift}")
        self.shift, self.start = shift, start

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        first = torch.tensor(1 / (n_steps if self.start == "even" else schedule.T), dtype=torch.float64)
        first = first if self.start == "even" else self._shifted(first)  # twice in the end, as there
        even = torch.linspace(1, float(first), n_steps, dtype=torch.float64)
        return torch.cat([self._shifted(even), torch.zeros(1, dtype=torch.float64)])

    def _shifted(self, t: Tensor) -> Tensor:
        return self.shift * t / (1 + (self.shift - 1) * t)
