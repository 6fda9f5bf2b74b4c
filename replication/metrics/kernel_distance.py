"""Kernel distance (KID) of resamples: the unbiased squared MMD with the cubic kernel k(a, b) = (a.b / D + 1)^3.

Binkowski et al. 2018, eq. 4, over all images instead of subsets. A resample that takes generated image i w_i times and
reference image r v_r times has

    sum_{i != j} w_i w_j k(x_i, x_j) / sum_{i != j} w_i w_j  +  the same of v and y  -  2 / (n m) sum_{i, r} w_i v_r k(x_i, y_r)

Pairs of copies of one image (i = j) are left out: they would add k(x, x) and bias every resample upwards.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from replication.metrics.uncertainty import Draws, Influence, calibrated, linear_part

ROWS = 1024  # rows of a kernel matrix held at a time


def cubic(a: Tensor, b: Tensor) -> Tensor:
    """Kernel matrix [N,M] of a [N,D] and b [M,D], with the coefficients that KID fixes."""
    inner = a @ b.T / a.shape[1] + 1
    return inner * inner * inner


def _sums(a: Tensor, b: Tensor, of_a: Tensor, of_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """sum_ij of_a[r,i] of_b[r,j] k(a_i, b_j) for each r [R], and the kernel's sums over j [N] and over i [M].

    Where a is b, i = j is left out.
    """
    weighted = torch.zeros(len(of_a), dtype=a.dtype, device=a.device)
    over_i = torch.zeros(len(b), dtype=a.dtype, device=a.device)
    over_j = []
    for start in range(0, len(a), ROWS):
        kernel = cubic(a[start : start + ROWS], b)
        if a is b:
            kernel.diagonal(start).zero_()
        weighted += ((of_a[:, start : start + ROWS] @ kernel) * of_b).sum(1)
        over_i += kernel.sum(0)
        over_j.append(kernel.sum(1))
    return weighted, torch.cat(over_j), over_i


def _within(values: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean kernel over pairs of images of each resample [R], and over the others for each image [N]."""
    weighted, sums, _ = _sums(values, values, counts, counts)
    n = len(values)
    return weighted / (n * n - counts.square().sum(1)), sums / (n - 1)


def kid_deviations(generated: Sequence[Tensor], reference: Tensor, draws: Draws) -> Tensor:
    """Deviations [R] of the mean KID over fresh sets: values [N,D] per seed, [M,D]."""
    real, m = reference.double(), len(reference)
    counts_of_real = draws.reference.double().to(real.device)
    within_real, of_real = _within(real, counts_of_real)
    points, influences, replicates = [], [], []
    for index, values in enumerate(generated):
        rows, counts = draws.of_seed(index)
        values, counts, n = values.double(), counts.to(real.device), len(values)
        within, of_values = _within(values, counts)
        across, over_real, over_values = _sums(values, real, counts, counts_of_real[rows])
        replicates.append(within + within_real[rows] - 2 * across / (n * m))
        points.append((of_values.mean() + of_real.mean() - 2 * over_real.mean() / m).item())
        influences.append(Influence(2 * (of_values - over_real / m), 2 * (of_real - over_values / n)))
    return calibrated(draws.mean(replicates), linear_part(points, influences, draws))
