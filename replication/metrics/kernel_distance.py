"""Kernel distance (KID) of resamples: the unbiased squared MMD with the cubic kernel k(a, b) = (a.b / D + 1)^3.

Binkowski et al. 2018, eq. 4, over all images instead of subsets. A resample that takes image i w_i times has

    sum_{i != j} w_i w_j k(x_i, x_j) / sum_{i != j} w_i w_j  -  2 / (n m) sum_{i, r} w_i k(x_i, y_r)  +  const

Pairs of copies of one image (i = j) are left out: they would add k(x, x) and bias every resample upwards. The constant
is the reference's own term; it is the same for every resample and cancels when they are centred, so it is not computed.
"""

import torch
from torch import Tensor

ROWS = 1024  # rows of a kernel matrix held at a time


def cubic(a: Tensor, b: Tensor) -> Tensor:
    """Kernel matrix [N,M] of a [N,D] and b [M,D], with the coefficients that KID fixes."""
    inner = a @ b.T / a.shape[1] + 1
    return inner * inner * inner


def resampled_kid(values: Tensor, reference: Tensor, counts: Tensor) -> Tensor:
    """Squared MMD, short of the reference's constant, of each resample of values [N,D]; counts [R,N] -> [R] float64."""
    values, reference, n = values.double(), reference.double(), len(values)
    within = torch.zeros(len(counts), dtype=values.dtype, device=values.device)
    across = torch.zeros_like(within)
    for start in range(0, n, ROWS):
        rows = values[start : start + ROWS]
        kernel = cubic(rows, values)
        kernel.diagonal(start).zero_()
        weights = counts[:, start : start + ROWS]
        within += ((weights @ kernel) * counts).sum(1)
        across += weights @ cubic(rows, reference).mean(1)
    return within / (n * n - counts.square().sum(1)) - 2 * across / n
