"""L_simple with absolute errors: what LDM's churches model is trained with (the official configuration's loss_type l1)."""

from torch import Tensor

from replication.diffusion.denoiser import Denoiser
from replication.diffusion.forward import marginal
from replication.diffusion.objective import Objective
from replication.diffusion.objectives.simple import error
from replication.registry import OBJECTIVES
from replication.types import Prediction


@OBJECTIVES.register("simple-l1")
class SimpleL1(Objective):
    """L_simple with absolute errors, as LDM's churches model was trained (Rombach et al. 2022)."""

    def __call__(self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Tensor:
        x_t = marginal(denoiser.schedule, x0, t, noise)
        return error(denoiser, denoiser(x_t, t, cond), Prediction(x0, noise), x_t, t).abs().flatten(1).mean(dim=1)
