"""Orders of convergence, measured: the slope of log error against log step size, for each starting point.

A maximum over points would blur the fit where the error of one of them crosses zero; the median of their slopes
does not.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from replication.check.oracles.gaussian import GaussianDenoiser
from replication.check.oracles.moments import final_moments
from replication.diffusion import sample
from replication.diffusion.sampler import Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.types import Prediction


class ExactDenoiser(Protocol):
    """A `Denoise` whose probability flow is known."""

    schedule: NoiseSchedule

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction: ...

    def flow(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor: ...


def starts(denoiser: ExactDenoiser, t: Tensor, channels: int = 2) -> Tensor:
    """Eight images [8,C,1,1] at time t, at 0.3 to 1.8 standard deviations of the noise there, in all directions."""
    i = torch.arange(8 * channels, dtype=torch.float64).reshape(8, channels, 1, 1)
    scale = (denoiser.schedule.alpha(t) ** 2 + denoiser.schedule.sigma(t) ** 2).sqrt()
    return scale * (0.3 + 1.5 * torch.frac(0.618034 * i)) * torch.sign(torch.sin(2.1 * i + 1))


def slopes(steps: Sequence[float], errors: Sequence[Tensor]) -> Tensor:
    """Minus the slope of log(error) against log(number of steps) by least squares, one for each starting point."""
    x, y = torch.tensor(steps, dtype=torch.float64).log(), torch.stack(list(errors)).log()
    x = x - x.mean()
    return -(x[:, None] * (y - y.mean(dim=0))).sum(dim=0) / x.square().sum()


def global_errors(
    denoiser: ExactDenoiser, sampler: Sampler, times: Callable[[int], Tensor], steps: Sequence[int], exact: int = 0
) -> list[Tensor]:
    """Distance [starts] from the exact flow at the end, for each number of steps; `times(n)` gives n + 1 times.

    exact: so many first steps are replaced by the flow itself, while the sampler's history sees them.
    """
    errors = []
    ends = times(steps[0])[[0, -1]]
    x_T = starts(denoiser, ends[0])
    x_0 = denoiser.flow(x_T, *ends)
    for n in steps:
        x = walk(denoiser, sampler, times(n), x_T, exact) if exact else sample(denoiser, sampler, times(n), x_T)
        errors.append(distance(x, x_0))
    return errors


def local_errors(
    denoiser: ExactDenoiser, sampler: Sampler, centre: float, multiples: Sequence[float], lengths: Sequence[float]
) -> list[Tensor]:
    """Error [starts] of the last step alone, all before it being exact, for each step length in half_log_snr.

    The steps are `multiples` of the length, and the last begins at half_log_snr `centre`.
    """
    errors = []
    for length in lengths:
        places = centre + length * (torch.tensor([0.0, *multiples]).double().cumsum(0) - sum(multiples[:-1]))
        times = denoiser.schedule.time_at(places)
        x_T = starts(denoiser, times[0])
        x = walk(denoiser, sampler, times, x_T, len(multiples) - 1)
        errors.append(distance(x, denoiser.flow(x_T, times[0], times[-1])))
    return errors


def walk(denoiser: ExactDenoiser, sampler: Sampler, times: Tensor, x_T: Tensor, exact: int) -> Tensor:
    """The sampler's answer at times[-1] where its first `exact` steps are each followed by the flow's own answer.

    A state that keeps an image (UniPC's, where its last step began) is given the exact one. The end is not announced,
    so that no order is lowered for it.
    """
    x, state = x_T, sampler.init()
    for i in range(len(times) - 1):
        if i <= exact and hasattr(state, "x_t") and state.x_t is not None:
            state = dataclasses.replace(state, x_t=denoiser.flow(x_T, times[0], state.t))
        x_s, state = sampler.step(denoiser, denoiser.schedule, x, times[i], times[i + 1], None, state)
        x = denoiser.flow(x_T, times[0], times[i + 1]) if i < exact else x_s
    return x


def distance(a: Tensor, b: Tensor) -> Tensor:
    """max-abs per image."""
    return (a - b).abs().flatten(1).amax(dim=1)


def moment_errors(
    denoiser: GaussianDenoiser, sampler: Sampler, times: Callable[[int], Tensor], steps: Sequence[int]
) -> list[Tensor]:
    """|mean error| and |variance error| [2] per pixel at the end, starting from the exact moments: no Monte Carlo."""
    errors = []
    for n in steps:
        visited = times(n)
        at = [
            (float(denoiser.schedule.alpha(t)) * denoiser.mean, float(denoiser.variance(t))) for t in visited[[0, -1]]
        ]
        mean, variance = final_moments(denoiser, sampler, visited, *at[0])
        errors.append(torch.tensor([mean - at[1][0], variance - at[1][1]], dtype=torch.float64).abs())
    return errors
