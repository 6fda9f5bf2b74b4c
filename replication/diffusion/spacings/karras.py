"""Karras spacing: Karras et al. 2022 (EDM), equation 5, for the ratio sigma/alpha on any schedule."""

import torch
from torch import Tensor

from replication.diffusion.spacing import SigmaSpacing
from replication.registry import SPACINGS
from replication.types import InputError


@SPACINGS.register("karras")
class Karras(SigmaSpacing):
    """(sigma/alpha)^(1/rho) falls evenly (Karras et al. 2022, EDM, equation 5).

    EDM's own are schedule "ve" and sigma_min = 0.002.

    Range, end and errors: see SigmaSpacing. InputError unless rho > 0.
    """

    def __init__(
        self, rho: float = 7.0, sigma_min: float | None = None, sigma_max: float | None = None, end: str = "zero"
    ):
        super().__init__(sigma_min, sigma_max, end)
        if not rho > 0:
            raise InputError(f"rho must be positive, not {rho!r}")
        self.rho = rho

    def ratios(self, highest: Tensor, lowest: Tensor, n: int) -> Tensor:
        ramp = torch.arange(n, dtype=torch.float64) / max(n - 1, 1)
        top, bottom = highest ** (1 / self.rho), lowest ** (1 / self.rho)
        return (top + ramp * (bottom - top)) ** self.rho
