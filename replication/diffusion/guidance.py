"""Guidance without a classifier, Ho and Salimans 2022, and by one, Dhariwal and Nichol 2021, section 4.

    eps = eps_null + weight (eps_cond - eps_null),  and so for x0: the answer still splits x_t

weight 1 is off and 0 is the unconditional answer, as Imagen, LDM and DiT write it. (The paper's own w is weight - 1.)

    g = weight grad_x log p(y | x_t, t),   eps = eps - sigma g,   and so for x0 (algorithm 2, DDIM)

of a classifier p of noisy images; weight 0 is off. Ancestral sampling moves its mean by variance * g instead (algorithm 1).
x0 is clipped before, as in the official code.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from replication.diffusion.denoiser import Denoise, Wrapper, evaluations
from replication.diffusion.parameterization import eps_of
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import one_of
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
            self.channels = CHANNELS[one_of("guided channels", channels, CHANNELS)]
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


class ClassifierGuided(Wrapper):
    """The denoiser with the gradient of a classifier of noisy images beside its answer: Dhariwal and Nichol 2021.

    classifier: `(x [B,C,H,W] float32, timestep [B]) -> logits [B,K]`; it is no evaluation of the network. cond: labels Int[B],
    which the denoiser is given too. Raises InputError when called without labels, and for a schedule that ends without signal.
    """

    def __init__(self, denoise: Denoise, classifier: Callable[[Tensor, Tensor], Tensor], weight: float):
        super().__init__(denoise)
        if self.schedule.alpha(torch.ones(())) == 0:
            raise InputError(
                "guidance by a classifier: nothing of x0 is left at t = 1 of this schedule, where alpha is 0"
            )
        self.classifier, self.weight = classifier, weight

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        if cond is None or cond.is_floating_point():
            raise InputError("guidance by a classifier needs a label for every image")
        timestep = self.schedule.timestep(t)
        timestep = timestep.to(x_t).expand(len(x_t)) if t.ndim else x_t.new_full((len(x_t),), float(timestep))
        with torch.enable_grad():
            x = x_t.detach().float().requires_grad_()
            chosen = self.classifier(x, timestep.float()).float().log_softmax(1).gather(1, cond[:, None])
            (gradient,) = torch.autograd.grad(chosen.sum(), x)
        return self.denoise(x_t, t, cond)._replace(gradient=self.weight * gradient.to(x_t.dtype))


def scored(prediction: Prediction, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Prediction:
    """The prediction whose score has the gradient in it, where it has one: algorithm 2, of an x0 that may be clipped."""
    if prediction.gradient is None:
        return prediction
    alpha, sigma = per_image(schedule.alpha(t), x_t), per_image(schedule.sigma(t), x_t)
    eps = eps_of(prediction.x0, x_t, t, schedule) - sigma * prediction.gradient
    return prediction._replace(x0=prediction.x0 + sigma**2 / alpha * prediction.gradient, eps=eps, gradient=None)
