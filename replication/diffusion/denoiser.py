"""The denoiser: network + schedule + parameterization. It answers x0 and eps at (x_t, t).

Clipping, thresholding, counting and guidance (guidance.py) are wrappers of the same type, so a sampler can't tell one
from another.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from replication.diffusion.forward import LEARNED
from replication.diffusion.parameterization import eps_of, named
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import one_of
from replication.types import InputError, Prediction, per_image

Network = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class Denoise(Protocol):
    """`(x_t[B,C,H,W], t[B] or [], cond=None) -> Prediction`, on one schedule."""

    schedule: NoiseSchedule

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction: ...


class Denoiser:
    """A network read as (x0, eps): `network(x[B,C,H,W], timestep[B], cond) -> [B,C,H,W]`, or [B,2C,H,W].

    The second half of 2C output channels is about the variance of q(x_s|x_t), and `variance` says what: its logarithm
    ("learned", DDPM Table 2) or the place within the range of the fixed ones ("learned-range", IDDPM and DiT). The
    network runs in the dtype of its own parameters; the answer has the dtype of x_t, so a sampler may keep its state in
    float64.

    Raises InputError for an unknown parameterization or variance, and for eps on a schedule that ends without signal.
    """

    def __init__(
        self, network: Network, schedule: NoiseSchedule, parameterization: str = "eps", variance: str = "learned"
    ):
        self.network, self.schedule = network, schedule
        self.parameterization = named(parameterization)
        if self.parameterization.needs_signal and schedule.alpha(torch.ones(())) == 0:
            raise InputError(
                f"parameterization {parameterization!r} says nothing about x0 at t = 1 of this schedule, where alpha is 0;"
                " v, velocity and x0 do"
            )
        self.is_range = one_of("learned variance", variance, LEARNED) == "learned-range"
        first = next(network.parameters(), None) if isinstance(network, nn.Module) else None
        self.dtype = None if first is None else first.dtype

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        x, timestep = x_t.to(self.dtype or x_t.dtype), self.schedule.timestep(t)
        # one time for all is passed as a number: a copy to the device would wait for all that it has to do
        timestep = timestep.to(x).expand(len(x)) if t.ndim else x.new_full((len(x),), float(timestep))
        output = self.network(x, timestep, cond).to(x_t.dtype)
        about_variance = None
        if output.shape[1] == 2 * x_t.shape[1]:
            output, about_variance = output.chunk(2, dim=1)
        prediction = self.parameterization.prediction(output, x_t, t, self.schedule)
        return prediction._replace(log_var=about_variance, is_range=self.is_range)


class Wrapper(ABC):
    """A denoiser around another one."""

    def __init__(self, denoise: Denoise):
        self.denoise, self.schedule = denoise, denoise.schedule

    @abstractmethod
    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction: ...

    def evaluations(self, t: Tensor) -> int:
        """See the function of that name."""
        return evaluations(self.denoise, t)


def evaluations(denoise: Denoise, t: Tensor) -> int:
    """Network evaluations per image of one call at t: 1, unless a wrapper says more (guidance takes 2)."""
    return denoise.evaluations(t) if isinstance(denoise, Wrapper) else 1


class Counted(Wrapper):
    """Counts network evaluations in `nfe`, per image: a batch counts once. It goes around guidance, not inside it."""

    def __init__(self, denoise: Denoise):
        super().__init__(denoise)
        self.nfe = 0

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        self.nfe += self.evaluations(t)
        return self.denoise(x_t, t, cond)


class Clipped(Wrapper):
    """x0 clipped to [-1, 1] before anything is made of it; with `rederive`, eps is made to agree with the clipped x0.

    DDPM clips x0 and leaves eps alone (it never uses eps again); IDDPM's and ADM's DDIM re-derives eps.
    """

    def __init__(self, denoise: Denoise, rederive: bool):
        super().__init__(denoise)
        self.rederive = rederive

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        prediction = self.denoise(x_t, t, cond)
        x0 = self.bounded(prediction.x0)
        eps = eps_of(x0, x_t, t, self.schedule) if self.rederive else prediction.eps
        return prediction._replace(x0=x0, eps=eps)

    def bounded(self, x0: Tensor) -> Tensor:
        """x0 within [-1, 1], Float[B,C,H,W]."""
        return x0.clamp(-1, 1)


class Thresholded(Clipped):
    """Dynamic thresholding: Saharia et al. 2022 (Imagen), section 2.3.

    x0 is clipped to [-q, q] and divided by q, with q its image's 99.5th percentile of |x0|, which is that of diffusers, and
    at least 1.
    """

    def bounded(self, x0: Tensor) -> Tensor:
        q = per_image(x0.abs().flatten(1).quantile(0.995, dim=1).clamp(min=1), x0)
        return x0.clamp(-q, q) / q


CLIPS = ("none", "x0", "x0+eps", "dynamic", "dynamic+eps")  # a rule that clips otherwise raises sampling.VERSION


def clipped(denoise: Denoise, clip: str) -> Denoise:
    """The denoiser under the named clip: none, x0 or dynamic (thresholding), and +eps re-derives eps from the new x0.

    Raises InputError for another name.
    """
    if one_of("clip", clip, CLIPS) == "none":
        return denoise
    kind, _, rederive = clip.partition("+")
    return (Clipped if kind == "x0" else Thresholded)(denoise, rederive=bool(rederive))
