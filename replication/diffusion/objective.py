"""What a training objective is: `(denoiser, x0[B,C,H,W], cond, t[B], noise[B,C,H,W]) -> loss[B]`."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from replication.diffusion.denoiser import Denoiser
from replication.diffusion.schedule import NoiseSchedule


class Objective(ABC):
    """Averaged over pixels, never summed: gradient clipping at 1 means something else by a factor of C*H*W."""

    version = 1
    learns_variance = False  # whether it trains a network with twice the output channels
    variance_reading = "learned"  # how their second half is read: one of LEARNED in forward.py

    @abstractmethod
    def __call__(self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Tensor:
        """The loss per image, Float[B], for times t = k/T and noise ~ N(0, I) of the shape of x0."""

    def draw_times(self, n: int, schedule: NoiseSchedule, device: torch.device) -> Tensor:
        """The times that n training images are seen at, Float[n] in float64: k/T with every k of 1..T equally likely.

        `schedule` is what they are times of, for a density that is stated in another variable (half_log_snr, sigma).
        """
        return torch.randint(1, schedule.T + 1, (n,), device=device).double() / schedule.T
