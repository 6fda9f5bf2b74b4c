"""DPM-Solver++(3M): two past values, with exact weights; the second step is 2M's, the first DDIM's.

The official code's multistep_dpm_solver_third_update, for data prediction. Because the first step is of order 1, whole
trajectories are of order 2.
"""

from replication.diffusion.samplers.dpmpp_2m import DPMpp2M
from replication.registry import SAMPLERS


@SAMPLERS.register("dpmpp_3m")
class DPMpp3M(DPMpp2M):
    """lower_order_final: see Multistep."""

    local_order, values = 3, 3
