"""What a sampler is: one update rule from time t to time s. No loop, no random numbers, no global index."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.types import Prediction

DenoiseAt = Callable[[Tensor, Tensor], Prediction]


class Sampler(ABC):
    """Declares its order (global, in the step size), whether it uses noise, and its evaluations per step."""

    order: int
    stochastic: bool
    evals_per_step: int
    version = 1

    def init(self) -> Any:
        """The state before the first step: the history that a multistep rule will need."""
        return None

    @abstractmethod
    def step(
        self,
        denoise: DenoiseAt,
        schedule: NoiseSchedule,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        noise: Tensor | None,
        state: Any,
    ) -> tuple[Tensor, Any]:
        """(x_s [B,C,H,W], state) from x_t, for times `t >= s` (scalars, float64).

        `noise: Float[B,C,H,W]` ~ N(0, I) is given exactly when the sampler is stochastic.
        """
