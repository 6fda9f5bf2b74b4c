"""L_simple: Ho et al. 2020, equation 14, in the space of whatever the network predicts."""

from torch import Tensor

from replication.diffusion.denoiser import Denoiser
from replication.diffusion.forward import marginal
from replication.diffusion.objective import Objective
from replication.registry import OBJECTIVES
from replication.types import Prediction


@OBJECTIVES.register("simple")
class Simple(Objective):
    """L_simple: the mean squared error of the network's output, all times alike (Ho et al. 2020, equation 14)."""

    def __call__(self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Tensor:
        x_t = marginal(denoiser.schedule, x0, t, noise)
        return squared_error(denoiser, denoiser(x_t, t, cond), Prediction(x0, noise), x_t, t)


def error(denoiser: Denoiser, predicted: Prediction, true: Prediction, x_t: Tensor, t: Tensor) -> Tensor:
    """The network's output less the true one, in its own parameterization, Float[B,C,H,W]."""
    output, truth = (denoiser.parameterization.output(p, x_t, t, denoiser.schedule) for p in (predicted, true))
    return output - truth


def squared_error(denoiser: Denoiser, predicted: Prediction, true: Prediction, x_t: Tensor, t: Tensor) -> Tensor:
    """The square of `error`, mean over pixels, Float[B]."""
    return error(denoiser, predicted, true, x_t, t).square().flatten(1).mean(dim=1)
