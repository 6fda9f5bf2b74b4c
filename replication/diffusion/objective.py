"""What a training objective is: `(denoiser, x0[B,C,H,W], cond, t[B], noise[B,C,H,W]) -> loss[B]`."""

from abc import ABC, abstractmethod

from torch import Tensor

from replication.diffusion.denoiser import Denoiser


class Objective(ABC):
    """Averaged over pixels, never summed: gradient clipping at 1 means something else by a factor of C*H*W."""

    version = 1
    learns_variance = False  # whether it trains a network with twice the output channels

    @abstractmethod
    def __call__(self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Tensor:
        """The loss per image, Float[B], for times t = k/T and noise ~ N(0, I) of the shape of x0."""
