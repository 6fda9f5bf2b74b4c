"""Uniform in half_log_snr: Lu et al. 2022 (DPM-Solver), section 3.4, with end = "first" there.

k-diffusion's "exponential" is uniform in log sigma, which is -half_log_snr: the same rule under another name, with
end = "zero".
"""

import torch
from torch import Tensor

from replication.diffusion.spacing import SigmaSpacing
from replication.registry import SPACINGS


@SPACINGS.register("log_snr", "exponential")
class LogSNR(SigmaSpacing):
    """log(sigma/alpha) falls evenly, also known as exponential (Lu et al. 2022, DPM-Solver, section 3.4).

    Range, end and errors: see SigmaSpacing.
    """

    def ratios(self, highest: Tensor, lowest: Tensor, n: int) -> Tensor:
        ramp = torch.arange(n, dtype=torch.float64) / max(n - 1, 1)
        return torch.lerp(highest.log(), lowest.log(), ramp).exp()
