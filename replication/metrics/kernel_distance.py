"""Kernel distance (KID): the unbiased squared MMD with the cubic kernel k(a, b) = (a.b / D + 1)^3.

Binkowski et al. 2018, eq. 4. Of a set in which generated image i is taken w_i times and reference image r v_r times:

    sum_{i != j} w_i w_j k(x_i, x_j) / sum_{i != j} w_i w_j  +  the same of v, y
      -  2 sum_ir w_i v_r k(x_i, y_r) / sum_ir w_i v_r

Pairs of copies of one image (i = j) are left out: they would add k(x, x) and bias every resample upwards. The random
subsets that torch-fidelity prints the mean of are weights too, of 0 and 1, so that one pass over the kernels gives both.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from replication.metrics.metric import Material, Measurement, Metric, with_interval
from replication.metrics.uncertainty import Draws, Influence, calibrated, linear_part
from replication.registry import METRICS

SUBSETS, SUBSET_SIZE, SUBSET_SEED = 100, 1000, 2020  # torch-fidelity's defaults
ROWS = 1024  # rows of a kernel matrix held at a time


@METRICS.register("kid")
class KID(Metric):
    """KID: the squared maximum mean discrepancy by a cubic kernel, free of bias (Binkowski et al. 2018).

    `kid_std` over subsets is what papers print. The interval's error is not that, the scatter of sets of at most 1,000
    images whatever n is, but the bootstrap's over all images, to which the error of averaging over subsets is added.
    """

    name, label, direction, needs = "kid", "KID", "lower", ("samples", "real")
    form, scale, position, paper_form = "{:.2f}", 1000.0, 2, ".5f"

    def compute(self, material: Material, samples: list[Tensor], real: Tensor) -> Measurement:
        subsets, replicates, linear = kernel_distance(samples, real, material.draws)
        noise = material.draws.error_of_mean(subsets.mean(0))
        scatter = {"kid_std": subsets.std(1, correction=0).mean().item()}
        return with_interval("kid", subsets.mean().item(), calibrated(replicates, linear) + noise, scatter)


class KernelDistance(NamedTuple):
    subsets: Tensor  # float64 [S,SUBSETS]: of each subset of each seed
    replicates: Tensor  # float64 [R]: resamples of the KID of all images, averaged over seeds
    linear: Tensor  # float64 [R]: their linear part


def cubic(a: Tensor, b: Tensor) -> Tensor:
    """Kernel matrix [N,M] of a [N,D] and b [M,D], with the coefficients that KID fixes."""
    inner = a @ b.T / a.shape[1] + 1
    return inner * inner * inner


def subset_counts(n: int, m: int) -> tuple[Tensor, Tensor]:
    """The random subsets that torch-fidelity draws of n generated and m reference images: uint8 [SUBSETS,n], [.., m]."""
    generator, size = numpy.random.RandomState(SUBSET_SEED), min(SUBSET_SIZE, n, m)
    counts = (torch.zeros(SUBSETS, n, dtype=torch.uint8), torch.zeros(SUBSETS, m, dtype=torch.uint8))
    for subset in range(SUBSETS):
        for part in counts:
            part[subset, generator.choice(part.shape[1], size, replace=False)] = 1
    return counts


def kernel_distance(generated: Sequence[Tensor], reference: Tensor, draws: Draws) -> KernelDistance:
    """KID of values [N,D] per seed against [M,D], over torch-fidelity's subsets and over the resamples."""
    real, m = reference.double(), len(reference)
    subsets = [subset_counts(len(values), m) for values in generated]
    of_real = torch.cat([draws.reference, *(part for _, part in subsets)]).double().to(real.device)
    within_real, each_real = _within(real, of_real)
    of_subsets, replicates, points, influences = [], [], [], []
    for index, values in enumerate(generated):
        resamples, counts = draws.of_seed(index)
        values, counts = values.double(), torch.cat([counts, subsets[index][0].double()]).to(real.device)
        rows = torch.cat([resamples, len(draws.reference) + index * SUBSETS + torch.arange(SUBSETS)])
        within, each = _within(values, counts)
        across, over_real, over_values = _sums(values, real, counts, of_real[rows])
        distances = within + within_real[rows] - 2 * across / (counts.sum(1) * of_real[rows].sum(1))
        replicates.append(distances[: len(resamples)])
        of_subsets.append(distances[len(resamples) :].cpu())
        points.append((each.mean() + each_real.mean() - 2 * over_real.mean() / m).item())
        influences.append(Influence(2 * (each - over_real / m), 2 * (each_real - over_values / len(values))))
    return KernelDistance(torch.stack(of_subsets), draws.mean(replicates), linear_part(points, influences, draws))


def _within(values: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean kernel over pairs of images of each resample [R], and over the others for each image [N]."""
    weighted, sums, _ = _sums(values, values, counts, counts)
    return weighted / (counts.sum(1).square() - counts.square().sum(1)), sums / (len(values) - 1)


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
