"""DPM-Solver-1: Lu et al. 2022a, equation 3.7. The paper shows that it is DDIM with eta 0."""

from replication.diffusion.samplers.ddim import DDIM
from replication.registry import SAMPLERS


@SAMPLERS.register("dpm_1")
class DPM1(DDIM):
    """DPM-Solver-1, which the paper shows to be DDIM with eta 0 (Lu et al. 2022a, equation 3.7)."""

    def __init__(self) -> None:
        super().__init__(eta=0.0)
