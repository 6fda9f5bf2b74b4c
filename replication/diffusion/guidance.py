"""Classifier-free guidance: Ho and Salimans 2022, with the weight as Imagen, LDM and DiT write it.

    eps = eps_null + weight (eps_cond - eps_null),  and so for x0: the answer still splits x_t

weight 1 is off and 0 is the unconditional answer. (The paper's own w is weight - 1.)
"""

import torch
from torch import Tensor

from replication.diffusion.denoiser import Denoise, Wrapper, evaluations
from replication.registry import unknown
from replication.types import InputError, Prediction, per_image

VERSION = 1  # raised when a guided image comes out otherwise
CHANNELS: dict[str, int | None] = {"all": None, "dit": 3}  # how many of the first channels are guided


class Guided(Wrapper):
    """The denoiser under guidance; conditional and null answers come from one batch of 2B, and count as 2 evaluations.

    null: what stands for no condition, the shape of one image's `cond` (DiT: tensor(1000)).
    channels: "all", "dit" (the official DiT guides the first 3 of its 4 latent channels) or a number of first channels;
    the others, and the learned variance, are the conditional ones.
    interval: guidance acts only for t within [lo, hi], and the network is evaluated once elsewhere (Kynkaanniemi et al.
    2024, who give the interval in sigma: `schedule.time_at(-log(sigma))`).

    Raises InputError for a bad option, and when called without cond.
    """

    def __init__(
        self,
        denoise: Denoise,
        weight: float,
        null: Tensor,
        channels: str | int = "all",
        interval: tuple[float, float] = (0.0, 1.0),
    ):
        super().__init__(denoise)
        if isinstance(channels, str):
            if channels not in CHANNELS:
                raise unknown("guided channels", channels, list(CHANNELS))
            self.channels = CHANNELS[channels]
        elif isinstance(channels, bool) or channels < 1:
            raise InputError(
                f"guided channels must be a positive number or a name of {list(CHANNELS)}, not {channels!r}"
            )
        else:
            self.channels = channels
        if not 0 <= interval[0] <= interval[1] <= 1:
            raise InputError(f"a guidance interval must be [lo, hi] with 0 <= lo <= hi <= 1, not {list(interval)}")
        self.weight, self.null, self.interval = weight, null, interval

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        if cond is None:
            raise InputError("guidance needs a condition for every image")
        on = self._on(t)
        if not bool(on.any()):
            return self.denoise(x_t, t, cond)
        null = self.null.to(cond).expand_as(cond)
        twice = torch.cat([t, t]) if t.ndim else t
        both = self.denoise(torch.cat([x_t, x_t]), twice, torch.cat([cond, null]))
        with_cond, without = _half(both, 0), _half(both, 1)
        weight = self._weights(x_t)
        if t.ndim:  # per image and channel: guided where guidance is on, else the conditional answer
            weight = torch.where(per_image(on, x_t).bool(), weight, 1.0)
        return with_cond._replace(
            x0=torch.lerp(without.x0, with_cond.x0, weight), eps=torch.lerp(without.eps, with_cond.eps, weight)
        )

    def evaluations(self, t: Tensor) -> int:
        """2 where guidance is on for any image of the call."""
        return evaluations(self.denoise, t) * (2 if bool(self._on(t).any()) else 1)

    def _on(self, t: Tensor) -> Tensor:
        """Whether guidance acts, in the shape of t."""
        low, high = self.interval
        return (t >= low) & (t <= high) & (self.weight != 1)

    def _weights(self, x: Tensor) -> Tensor:
        """[1,C,1,1]: the weight on guided channels, 1 on the others; raises InputError if x has fewer channels."""
        count = x.shape[1] if self.channels is None else self.channels
        if count > x.shape[1]:
            raise InputError(f"{count} channels are to be guided, but the image has {x.shape[1]}")
        weights = torch.ones(1, x.shape[1], 1, 1, dtype=x.dtype, device=x.device)
        weights[:, :count] = self.weight
        return weights


def _half(p: Prediction, i: int) -> Prediction:
    """The first or second half of a batch of 2B."""
    about_variance = None if p.log_var is None else p.log_var.chunk(2)[i]
    return p._replace(x0=p.x0.chunk(2)[i], eps=p.eps.chunk(2)[i], log_var=about_variance)
