"""The only sampling loop. Samplers give the step, spacings the times, denoisers the prediction."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from replication.diffusion.denoiser import Denoise, clipped
from replication.diffusion.sampler import Sampler
from replication.types import InputError, Prediction


@torch.no_grad()
def sample(
    denoiser: Denoise,
    sampler: Sampler,
    times: Tensor,
    x_T: Tensor,
    noise: Callable[[int, Sequence[int]], Tensor] | None = None,
    clip: str = "none",
    progress: bool = False,
    cond: Tensor | None = None,
) -> Tensor:
    """Integrate x_T [B,C,H,W] from times[0] to times[-1]; the answer has the shape and dtype of x_T.

    times: Float[N+1] from a spacing. noise: `callable(step_index, shape) -> Float[B,C,H,W]`, asked only by stochastic
    samplers. clip: none | x0 | x0+eps (x0+eps re-derives eps from the clipped x0). cond: what the network is told
    besides the time, one per image. The state is kept in float64; the network runs in its own dtype.

    Raises InputError if the times do not fall from at most 1 to at least 0, or if a stochastic sampler gets no noise.
    """
    times = times.double().cpu()
    if times.ndim != 1 or len(times) < 2 or times[0] > 1 or times[-1] < 0 or bool((times.diff() > 0).any()):
        raise InputError("times must be at least two, in [0, 1], and must not increase")
    if sampler.stochastic and noise is None:
        raise InputError(f"{type(sampler).__name__} is stochastic: it needs noise")
    clipping = clipped(denoiser, clip)

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        return clipping(x, t, cond)

    x, state = x_T.double(), sampler.init(times)
    steps = itertools.pairwise(times)
    for i, (t, s) in enumerate(tqdm(steps, total=len(times) - 1, disable=not progress, leave=False, desc="sampling")):
        drawn = noise(i, x.shape).to(x) if sampler.stochastic and noise is not None else None
        x, state = sampler.step(denoise, denoiser.schedule, x, t, s, drawn, state)
    return x.to(x_T.dtype)
