"""L_simple: Ho et al. 2020, equation 14, in the space of whatever the network predicts; its absolute errors; other times."""

import torch
from torch import Tensor

from replication.diffusion.denoiser import Denoiser
from replication.diffusion.forward import marginal
from replication.diffusion.objective import Objective
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import OBJECTIVES
from replication.types import InputError, Prediction


@OBJECTIVES.register("simple")
class Simple(Objective):
    """L_simple: the mean squared error of the network's output, all times alike (Ho et al. 2020, equation 14)."""

    def __call__(self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Tensor:
        x_t = marginal(denoiser.schedule, x0, t, noise)
        return squared_error(denoiser, denoiser(x_t, t, cond), Prediction(x0, noise), x_t, t)


@OBJECTIVES.register("simple-l1")
class SimpleL1(Objective):
    """L_simple with absolute errors, as LDM's churches model was trained (Rombach et al. 2022; its loss_type l1)."""

    def __call__(self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Tensor:
        x_t = marginal(denoiser.schedule, x0, t, noise)
        return error(denoiser, denoiser(x_t, t, cond), Prediction(x0, noise), x_t, t).abs().flatten(1).mean(dim=1)


@OBJECTIVES.register("rectified-flow")
class RectifiedFlow(Simple):
    """Rectified flow with logit-normal times (Esser et al. 2024, Stable Diffusion 3, equation 19).

        loss = |network(x_t, t) - (eps - x0)|^2,   t = sigmoid(u),  u ~ N(mean, std^2)

    The straight line is schedule "flow", and the network's answer its velocity: parameterization "velocity". Times in the
    middle, where the velocity is hardest to predict, are drawn most often; none is on a grid. mean < 0 favours times near
    the data, and > 0 near the noise; raises InputError unless std is positive.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0):
        if not std > 0:
            raise InputError(f"objective 'rectified-flow': std must be positive, not {std}")
        self.mean, self.std = mean, std

    def draw_times(self, n: int, schedule: NoiseSchedule, device: torch.device) -> Tensor:
        """Logit-normal, Float[n] in float64."""
        return torch.sigmoid(self.mean + self.std * torch.randn(n, device=device, dtype=torch.float64))


def error(denoiser: Denoiser, predicted: Prediction, true: Prediction, x_t: Tensor, t: Tensor) -> Tensor:
    """The network's output less the true one, in its own parameterization, Float[B,C,H,W]."""
    output, truth = (denoiser.parameterization.output(p, x_t, t, denoiser.schedule) for p in (predicted, true))
    return output - truth


def squared_error(denoiser: Denoiser, predicted: Prediction, true: Prediction, x_t: Tensor, t: Tensor) -> Tensor:
    """The square of `error`, mean over pixels, Float[B]."""
    return error(denoiser, predicted, true, x_t, t).square().flatten(1).mean(dim=1)
