"""What a sampler is: one update rule from time t to time s. No loop, no random numbers, no global index."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.types import Prediction

DenoiseAt = Callable[[Tensor, Tensor], Prediction]
Noise = Tensor | None  # Float[B,C,H,W] ~ N(0, I), given exactly when the sampler is stochastic


class Sampler(ABC):
    """Declares its order, whether it uses noise, and its evaluations per step; tests measure all three.

    order           global, in the step size: of whole trajectories that end at sigma > 0; for a stochastic sampler the
                    weak order, that of the moments
    local_order     one step after exact, unequal ones errs by h^(local_order + 1); None: the same as order
    evals_per_step  on a step of finite length in half_log_snr; a step from alpha = 0 or to sigma = 0 takes one, and the
                    first few of some samplers take more: nfe knows
    """

    order: int
    local_order: int | None = None
    stochastic: bool
    evals_per_step: int
    takes_gradient = False  # whether `step` moves its mean by a prediction's gradient itself
    version = 1

    def init(self, times: Tensor | None = None) -> Any:
        """The state before the first step: the history that a multistep rule will need.

        times: Float64[N+1], what is about to be visited, for the rules that depend on the number of steps.
        """
        return None

    def nfe(self, schedule: NoiseSchedule, times: Tensor) -> int:
        """Evaluations of the denoiser per image over times [N+1]; a repeated time costs what any other does."""
        times = times.double()
        endless = schedule.half_log_snr(times).diff().isinf() & (times.diff() != 0)
        return int(torch.where(endless, 1, self.evals_per_step).sum())

    @abstractmethod
    def step(
        self, denoise: DenoiseAt, schedule: NoiseSchedule, x_t: Tensor, t: Tensor, s: Tensor, noise: Noise, state: Any
    ) -> tuple[Tensor, Any]:
        """(x_s [B,C,H,W], state) from x_t, for times `t >= s` (scalars, float64). Where t = s, x_s is x_t.

        half_log_snr may be infinite at one of them; `sample` refuses a step between two infinite ends that are the same.
        """
