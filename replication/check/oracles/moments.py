"""Exact mean and variance of what a sampler makes of Gaussian data: no Monte Carlo.

With an affine denoiser every sampler is affine: x_0 = a x_T + sum_i c_i z_i + b for the noise z_i of step i. One call of
`sample` answers all coefficients: each image of the batch is the response to one impulse.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from replication.diffusion import sample
from replication.diffusion.denoiser import Denoise
from replication.diffusion.sampler import Sampler


def final_moments(
    denoiser: Denoise, sampler: Sampler, times: Tensor, mean: float = 0.0, variance: float = 1.0
) -> tuple[float, float]:
    """(mean, variance) per pixel at times[-1], starting from N(mean, variance) at times[0]; the denoiser is affine."""
    steps = len(times) - 1
    x_T = torch.zeros(steps + 2, 1, 1, 1, dtype=torch.float64)
    x_T[1] = 1.0  # image 0: no impulse; image 1: x_T; image 2 + i: the noise of step i

    def impulse(step: int, shape: Sequence[int]) -> Tensor:
        z = torch.zeros(*shape, dtype=torch.float64)
        z[2 + step] = 1.0
        return z

    answer = sample(denoiser, sampler, times, x_T, impulse).flatten()
    offset, response = answer[0], answer[1:] - answer[0]
    return float(offset + response[0] * mean), float(response[0] ** 2 * variance + response[1:].square().sum())
