"""The mathematics that the papers share: q(x_t|x_0), what a network's output means, samplers, objectives."""

from replication.diffusion.denoiser import Denoiser
from replication.diffusion.sampling import sample

__all__ = ["Denoiser", "sample"]
