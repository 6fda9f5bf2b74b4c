"""The variational bound as the objective (Ho et al. 2020, equation 5), one time drawn per image, alone and beside L_simple.

    L_hybrid = L_simple + weight L_vlb,   L_vlb = sum over k of L_{k-1}, in bits/dim     Nichol and Dhariwal 2021, equation 16

One time is drawn per image, so L_vlb is estimated by T times its term: weight 0.001 gives the term the factor T/1000 of
the official code's rescaled loss. DiT's factor is 1, which at its T = 1000 is the same. The mean in the bound's term is a
constant to the gradient: L_simple alone trains it.
"""

from torch import Tensor

from replication.diffusion.bound import bound_term, term_of
from replication.diffusion.denoiser import Denoiser
from replication.diffusion.forward import VARIANCES, marginal
from replication.diffusion.objective import Objective
from replication.diffusion.objectives.simple import squared_error
from replication.registry import OBJECTIVES, one_of
from replication.types import InputError, Prediction


@OBJECTIVES.register("bound")
class Bound(Objective):
    """L: one term of the variational bound, in bits/dim (Ho et al. 2020, equation 5).

    The sum over all T terms, not their mean, would be the NLL.
    variance: fixed-large, fixed-small or learned. Raises InputError for another, or for learned without a network for it.
    """

    def __init__(self, variance: str = "fixed-large"):
        self.variance = one_of("variance", variance, VARIANCES)
        self.learns_variance = variance == "learned"

    def __call__(self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Tensor:
        x_t = marginal(denoiser.schedule, x0, t, noise)
        return bound_term(denoiser, self.variance, x0, x_t, t, cond)


@OBJECTIVES.register("hybrid")
class Hybrid(Objective):
    """L_hybrid: L_simple, and the bound for the variance alone (Nichol and Dhariwal 2021, equation 16).

    The variance is read as learned-range, the only one the paper could train.

    Raises InputError for a weight that is not positive (the variance would not be trained), and for a network without a
    learned variance.
    """

    learns_variance = True
    variance_reading = "learned-range"

    def __init__(self, weight: float = 0.001):
        if not weight > 0:
            raise InputError(f"objective 'hybrid': weight must be positive, not {weight}; objective 'simple' has none")
        self.weight = weight

    def __call__(self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Tensor:
        x_t = marginal(denoiser.schedule, x0, t, noise)
        predicted = denoiser(x_t, t, cond)
        fixed_mean = predicted._replace(x0=predicted.x0.detach())
        term = term_of(fixed_mean, "learned", denoiser.schedule, x0, x_t, t)
        error = squared_error(denoiser, predicted, Prediction(x0, noise), x_t, t)
        return error + self.weight * denoiser.schedule.T * term
