"""L: the variational bound itself as the objective, Ho et al. 2020, equation 5, one time drawn per image."""

from torch import Tensor

from replication.diffusion.bound import bound_term
from replication.diffusion.denoiser import Denoiser
from replication.diffusion.forward import marginal
from replication.diffusion.objective import Objective
from replication.diffusion.variance import check_variance
from replication.registry import OBJECTIVES


@OBJECTIVES.register("bound")
class Bound(Objective):
    """L: one term of the variational bound, in bits/dim (Ho et al. 2020, equation 5).

    The sum over all T terms, not their mean, would be the NLL.
    variance: fixed-large, fixed-small or learned. Raises InputError for another, or for learned without a network for it.
    """

    def __init__(self, variance: str = "fixed-large"):
        self.variance = check_variance(variance)
        self.learns_variance = variance == "learned"

    def __call__(self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Tensor:
        x_t = marginal(denoiser.schedule, x0, t, noise)
        return bound_term(denoiser, self.variance, x0, x_t, t, cond)
