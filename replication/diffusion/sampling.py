"""The only sampling loop. Samplers give the step, spacings the times, denoisers the prediction."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from replication.diffusion.denoiser import Denoise, clipped
from replication.diffusion.guidance import scored
from replication.diffusion.sampler import Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.types import InputError, Prediction

# Of this loop and of the chunks drawn with it: raised when an image comes out otherwise, by clipping, noise or labels too.
VERSION = 1


@torch.no_grad()
def sample(
    denoiser: Denoise,
    sampler: Sampler,
    times: Tensor,
    x_T: Tensor,
    noise: Callable[[int, Sequence[int]], Tensor] | None = None,
    clip: str = "none",
    progress: bool | Callable[[], object] = False,
    cond: Tensor | None = None,
) -> Tensor:
    """Integrate x_T [B,C,H,W] from times[0] to times[-1]; the answer has the shape and dtype of x_T.

    times: Float[N+1] from a spacing. noise: `callable(step_index, shape) -> Float[B,C,H,W]`, asked only by stochastic
    samplers. clip: none | x0 | x0+eps | dynamic | dynamic+eps (+eps re-derives eps from the clipped x0). cond: what the
    network is conditioned on besides the time, one per image. progress: a bar, or what is called after each step. The state
    is kept in float64; the network runs in its own dtype.

    Raises InputError if the times do not fall from at most 1 to at least 0 (they may repeat where half_log_snr is finite),
    if more of them are distinct than the schedule has, or if a stochastic sampler gets no noise.
    """
    times = times.double().cpu()
    _check(times, denoiser.schedule)
    if sampler.stochastic and noise is None:
        raise InputError(f"{type(sampler).__name__} is stochastic: it needs noise")
    clipping = clipped(denoiser, clip)

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        prediction = clipping(x, t, cond)
        return prediction if sampler.takes_gradient else scored(prediction, x, t, denoiser.schedule)

    x, state = x_T.double(), sampler.init(times)
    steps = itertools.pairwise(times)
    for i, (t, s) in enumerate(
        tqdm(steps, total=len(times) - 1, disable=progress is not True, leave=False, desc="sampling")
    ):
        drawn = noise(i, x.shape).to(x) if sampler.stochastic and noise is not None else None
        x, state = sampler.step(denoise, denoiser.schedule, x, t, s, drawn, state)
        if callable(progress):
            progress()
    return x.to(x_T.dtype)


def _check(times: Tensor, schedule: NoiseSchedule) -> None:
    # each condition is one that a NaN does not meet
    if times.ndim != 1 or len(times) < 2 or not (times[0] <= 1 and times[-1] >= 0 and bool((times.diff() <= 0).all())):
        raise InputError("times must be at least two, in [0, 1], and must not increase")
    steps = len(times.unique()) - 1
    if steps > schedule.T:
        raise InputError(f"{steps} steps between distinct times are more than the schedule's T = {schedule.T}")
    if bool(schedule.half_log_snr(times[:-1][times.diff() == 0]).isinf().any()):
        raise InputError("times must not repeat where no signal or no noise is left: there is no step to take")
