"""The denoiser: network + schedule + parameterization. It answers x0 and eps at (x_t, t).

Clipping and counting are wrappers of the same type, so a sampler can't tell one from another.
"""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from replication.diffusion.parameterization import eps_of, named
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import unknown
from replication.types import Prediction

Network = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class Denoise(Protocol):
    """`(x_t[B,C,H,W], t[B] or [], cond=None) -> Prediction`, on one schedule."""

    schedule: NoiseSchedule

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction: ...


class Denoiser:
    """A network read as (x0, eps): `network(x[B,C,H,W], timestep[B], cond) -> [B,C,H,W]`, or [B,2C,H,W].

    A network with 2C output channels learns the log-variance of q(x_s|x_t) in its second half (DDPM Table 2,
    "learned diagonal"). The network runs in the dtype of its own parameters; the answer has the dtype of x_t, so a
    sampler may keep its state in float64. Raises InputError for an unknown parameterization.
    """

    def __init__(self, network: Network, schedule: NoiseSchedule, parameterization: str = "eps"):
        self.network, self.schedule = network, schedule
        self.parameterization = named(parameterization)
        first = next(network.parameters(), None) if isinstance(network, nn.Module) else None
        self.dtype = None if first is None else first.dtype

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        timestep = self.schedule.timestep(t).to(device=x_t.device, dtype=self.dtype or x_t.dtype).expand(len(x_t))
        output = self.network(x_t.to(self.dtype or x_t.dtype), timestep, cond).to(x_t.dtype)
        log_var = None
        if output.shape[1] == 2 * x_t.shape[1]:
            output, log_var = output.chunk(2, dim=1)
        x0, eps, _ = self.parameterization.prediction(output, x_t, t, self.schedule)
        return Prediction(x0, eps, log_var)


class Counted:
    """Counts network evaluations in `nfe`; a batch counts once, so `nfe` is the number per image."""

    def __init__(self, denoise: Denoise):
        self.denoise, self.schedule, self.nfe = denoise, denoise.schedule, 0

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        self.nfe += 1
        return self.denoise(x_t, t, cond)


class Clipped:
    """x0 clipped to [-1, 1] before anything is made of it; with `rederive`, eps is made to agree with the clipped x0.

    DDPM clips x0 and leaves eps alone (it never uses eps again); IDDPM's and ADM's DDIM re-derives eps.
    """

    def __init__(self, denoise: Denoise, rederive: bool):
        self.denoise, self.schedule, self.rederive = denoise, denoise.schedule, rederive

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        x0, eps, log_var = self.denoise(x_t, t, cond)
        x0 = x0.clamp(-1, 1)
        return Prediction(x0, eps_of(x0, x_t, t, self.schedule) if self.rederive else eps, log_var)


CLIPS = ("none", "x0", "x0+eps")


def clipped(denoise: Denoise, clip: str) -> Denoise:
    """The denoiser under the named clip: none, x0, or x0+eps; raises InputError for another name."""
    if clip not in CLIPS:
        raise unknown("clip", clip, list(CLIPS))
    return denoise if clip == "none" else Clipped(denoise, rederive=clip == "x0+eps")
