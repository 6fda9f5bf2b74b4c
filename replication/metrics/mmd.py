"""The squared maximum mean discrepancy (MMD) of two sets by any kernel, and its resamples (Gretton et al. 2012, eq. 3).

Of a set in which generated image i is taken w_i times and reference image r v_r times:

    sum_{i != j} w_i w_j k(x_i, x_j) / sum_{i != j} w_i w_j  +  the same of v, y
      -  2 sum_ir w_i v_r k(x_i, y_r) / sum_ir w_i v_r

Pairs of copies of one image (i = j) are left out: they would add k(x, x) and bias every resample upwards. Subsets are
weights too, of 0 and 1, so that one pass over the kernels gives both.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from replication.metrics.kept import content, kept
from replication.metrics.uncertainty import Draws, Influence, linear_part

ROWS = 1024  # of a kernel matrix that are held at a time, and fewer where they are long:
ENTRIES = ROWS * 4096  # 32 MB
Kernel = Callable[[Tensor, Tensor], Tensor]  # of a [N,D] and b [M,D], float64 -> [N,M]


class Discrepancy(NamedTuple):
    points: list[float]  # of all images of each seed, without bias
    within: list[float]  # mean kernel over pairs of images of each seed
    within_real: float  # the same of the reference
    subsets: Tensor  # float64 [S,K]: of each subset of each seed
    replicates: Tensor  # float64 [R]: resamples, averaged over seeds
    linear: Tensor  # float64 [R]: their linear part


def discrepancy(
    generated: Sequence[Tensor],
    reference: Tensor,
    kernel: Kernel,
    draws: Draws,
    subsets: Sequence[tuple[Tensor, Tensor]] = (),
) -> Discrepancy:
    """Of values [N,D] per seed against [M,D]; a seed's subsets are counts [K,N] of its images and [K,M] of the reference."""
    real, m = reference.double(), len(reference)
    subsets = subsets or [(torch.empty(0, len(values)), torch.empty(0, m)) for values in generated]
    counted = torch.cat([draws.reference, *(part.to(draws.reference) for _, part in subsets)])
    of_real = counted.double().to(real.device)
    within_real, each_real = kept(
        reference, "within", lambda: _within(real, kernel, of_real), (kernel, content(counted))
    )
    points, inside, of_subsets, replicates, influences = [], [], [], [], []
    for index, (values, (taken, _)) in enumerate(zip(generated, subsets, strict=True)):
        resamples, counts = draws.of_seed(index)
        values, counts = values.double(), torch.cat([counts, taken.double()]).to(real.device)
        rows = torch.cat([resamples, len(draws.reference) + index * len(taken) + torch.arange(len(taken))])
        within, each = _within(values, kernel, counts)
        across, over_real, over_values = _sums(values, real, kernel, counts, of_real[rows])
        distances = within + within_real[rows] - 2 * across / (counts.sum(1) * of_real[rows].sum(1))
        replicates.append(distances[: len(resamples)])
        of_subsets.append(distances[len(resamples) :].cpu())
        points.append((each.mean() + each_real.mean() - 2 * over_real.mean() / m).item())
        inside.append(each.mean().item())
        influences.append(Influence(2 * (each - over_real / m), 2 * (each_real - over_values / len(values))))
    linear = linear_part(points, influences, draws)
    return Discrepancy(points, inside, each_real.mean().item(), torch.stack(of_subsets), draws.mean(replicates), linear)


def _within(values: Tensor, kernel: Kernel, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean kernel over pairs of images of each resample [R], and over the others for each image [N]."""
    weighted, sums, _ = _sums(values, values, kernel, counts, counts)
    return weighted / (counts.sum(1).square() - counts.square().sum(1)), sums / (len(values) - 1)


def _sums(a: Tensor, b: Tensor, kernel: Kernel, of_a: Tensor, of_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """sum_ij of_a[r,i] of_b[r,j] k(a_i, b_j) for each r [R], and the kernel's sums over j [N] and over i [M].

    Where a is b, i = j is left out.
    """
    weighted = torch.zeros(len(of_a), dtype=a.dtype, device=a.device)
    over_i = torch.zeros(len(b), dtype=a.dtype, device=a.device)
    over_j = []
    rows = max(1, min(ROWS, ENTRIES // len(b)))
    for start in range(0, len(a), rows):
        block = kernel(a[start : start + rows], b)
        if a is b:
            block.diagonal(start).zero_()
        weighted += (of_a[:, start : start + rows] @ block).mul_(of_b).sum(1)
        over_i += block.sum(0)
        over_j.append(block.sum(1))
        del block  # before there is the next one
    return weighted, torch.cat(over_j), over_i
