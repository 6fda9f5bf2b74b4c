"""Orders of convergence, measured: the slope of log error against log step size."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from oracles.gaussian import GaussianDenoiser
from replication.diffusion import sample
from replication.diffusion.sampler import Sampler


def global_errors(
    denoiser: GaussianDenoiser, sampler: Sampler, times: Callable[[int], Tensor], steps: Sequence[int]
) -> list[float]:
    """max-abs distance from the exact flow after each number of steps; `times(n)` gives the n + 1 times of n steps."""
    x_T = torch.linspace(-1.5, 2.0, 8, dtype=torch.float64).reshape(8, 1, 1, 1)
    errors = []
    for n in steps:
        visited = times(n)
        exact = denoiser.flow(x_T, visited[0], visited[-1])
        errors.append(float((sample(denoiser, sampler, visited, x_T) - exact).abs().max()))
    return errors


def slope(steps: Sequence[float], errors: Sequence[float]) -> float:
    """The measured order: minus the slope of log(error) against log(number of steps), by least squares."""
    return float(-np.polyfit(np.log(steps), np.log(errors), 1)[0])
