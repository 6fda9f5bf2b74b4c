"""DPM-Solver++(3M): two past values; the second step is 2M's, the first DDIM's.

Everyone's third-order multistep update (the official code's multistep_dpm_solver_third_update, diffusers', and
k-diffusion's sample_dpmpp_3m_sde) multiplies the coefficient of h^2 x0'' by a divided difference, which is half of it.
So what goes by this name is of local order 2. With weights "exact" the coefficient is right and the local order is 3;
whole trajectories are then of order 2 all the same, because the first step is of order 1.
"""

from torch import Tensor

from replication.diffusion.exponential import moments
from replication.diffusion.samplers.dpmpp_2m import DPMpp2M
from replication.registry import SAMPLERS, unknown


@SAMPLERS.register("dpmpp_3m")
class DPMpp3M(DPMpp2M):
    """DPM-Solver++(3M): x0 predicted, two past values, as the official code has it (Lu et al. 2022b).

    weights: published or exact; lower_order_final: see Multistep. Raises InputError for other names.
    """

    values = 3

    def __init__(self, weights: str = "published", lower_order_final: str = "at-zero"):
        super().__init__(lower_order_final)
        if weights not in ("published", "exact"):
            raise unknown("weights", weights, ["published", "exact"])
        self.weights, self.local_order = weights, 3 if weights == "exact" else 2

    def moments(self, h: Tensor, past: int) -> list[float]:
        if past < 2:
            return super().moments(h, past)
        first, second = moments(-h, 2)
        return [first, second if self.weights == "exact" else second / 2]
