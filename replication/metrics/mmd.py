"""The squared maximum mean discrepancy (MMD) of two sets by a kernel, and its resamples (Gretton et al. 2012, eq. 3).

Of a set in which generated image i is taken w_i times and reference image r v_r times:

    sum_{i != j} w_i w_j k(x_i, x_j) / sum_{i != j} w_i w_j  +  the same of v, y
      -  2 sum_ir w_i v_r k(x_i, y_r) / sum_ir w_i v_r

Pairs of copies of one image (i = j) are left out: they would add k(x, x) and bias every resample upwards. Subsets are
weights too, of 0 and 1, so that one pass over the kernels gives both.

    KID    k(a, b) = (a.b / D + 1)^3                                   Binkowski et al. 2018
    CMMD   k(x, y) = exp(-|x - y|^2 / (2 sigma^2)), sigma = 10          Jayasumana et al. 2024, times 1,000
"""

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy
import torch
from torch import Tensor
from torch.nn.functional import normalize

from replication.metrics.features import content, kept
from replication.metrics.metric import VARIETY, Material, Measurement, Metric, with_interval
from replication.metrics.uncertainty import Draws, Influence, calibrated, linear_part
from replication.registry import METRICS

ROWS = 1024  # of a kernel matrix that are held at a time, and fewer where they are long:
ENTRIES = ROWS * 4096  # 32 MB
Kernel = Callable[[Tensor, Tensor], Tensor]  # of a [N,D] and b [M,D], float64 -> [N,M]
SUBSETS, SUBSET_SIZE, SUBSET_SEED = 100, 1000, 2020  # torch-fidelity's defaults
SIGMA, SCALE = 10.0, 1000.0  # of CMMD


@METRICS.register("kid")
class KID(Metric):
    """KID: the squared maximum mean discrepancy by a cubic kernel, free of bias (Binkowski et al. 2018).

    `kid_std` over subsets is what papers print. The interval's error is not that, the scatter of sets of at most 1,000
    images whatever n is, but the bootstrap's over all images, to which the error of averaging over subsets is added.
    """

    name, label, direction, needs = "kid", "KID", "lower", ("samples", "real")
    form, scale, position, paper_form = "{:.2f}", 1000.0, 2, ".5f"

    def compute(self, material: Material, samples: list[Tensor], real: Tensor) -> Measurement:
        found = kernel_distance(samples, real, material.draws)
        noise = material.draws.error_of_mean(found.subsets.mean(0))
        scatter = {"kid_std": found.subsets.std(1, correction=0).mean().item()}
        replicates = calibrated(found.replicates, found.linear) + noise
        return with_interval("kid", found.subsets.mean().item(), replicates, scatter, raw=found.replicates + noise)


@METRICS.register("cmmd")
class CMMD(Metric):
    """CMMD: the squared MMD of CLIP embeddings by a Gaussian kernel (Jayasumana et al. 2024), of that extractor only.

    As the authors' code has it, means are taken over all pairs, an image with itself included (Gretton et al. 2012, eq. 5),
    so that of two finite sets of one law it is above 0, by 1,000 (1 - E k) (1/n + 1/m). The interval is for sets of this
    size: that bias is in the figure, and not taken out.
    """

    name, label, direction, needs, extractor = "cmmd", "CMMD", "lower", ("samples", "real"), "clip-vit-l-14-336"
    table, position, biased = VARIETY, 9, True

    def compute(self, material: Material, samples: list[Tensor], real: Tensor) -> Measurement:
        *generated, reference = (normalize(values.double()) for values in [*samples, real])
        found = discrepancy(generated, reference, gaussian, material.draws)
        # each image with itself, whose kernel is 1, is left out of `discrepancy` and belongs in here
        own = [(1 - within) / len(values) for within, values in zip(found.within, samples, strict=True)]
        point = statistics.fmean(found.points) + statistics.fmean(own) + (1 - found.within_real) / len(real)
        replicates = calibrated(found.replicates, found.linear)
        return with_interval(self.name, SCALE * point, SCALE * replicates, least=0.0, raw=SCALE * found.replicates)


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
    over_i, over_j = weighted.new_zeros(len(b)), weighted.new_empty(len(a))  # pieces of them would part freed memory
    rows = max(1, min(ROWS, ENTRIES // len(b)))
    for start in range(0, len(a), rows):
        block = kernel(a[start : start + rows], b)
        if a is b:
            block.diagonal(start).zero_()
        weighted += (of_a[:, start : start + rows] @ block).mul_(of_b).sum(1)
        over_i += block.sum(0)
        torch.sum(block, 1, out=over_j[start : start + rows])
        del block  # before there is the next one
    return weighted, over_j, over_i


def cubic(a: Tensor, b: Tensor) -> Tensor:
    """Kernel matrix [N,M] of a [N,D] and b [M,D], with the coefficients that KID fixes."""
    inner = (a @ b.T).div_(a.shape[1]).add_(1)  # a matrix of many images is copied as seldom as may be
    return (inner * inner).mul_(inner)


def subset_counts(n: int, m: int) -> tuple[Tensor, Tensor]:
    """The random subsets that torch-fidelity draws of n generated and m reference images: uint8 [SUBSETS,n], [.., m]."""
    generator, size = numpy.random.RandomState(SUBSET_SEED), min(SUBSET_SIZE, n, m)
    counts = (torch.zeros(SUBSETS, n, dtype=torch.uint8), torch.zeros(SUBSETS, m, dtype=torch.uint8))
    for subset in range(SUBSETS):
        for part in counts:
            part[subset, generator.choice(part.shape[1], size, replace=False)] = 1
    return counts


def kernel_distance(generated: Sequence[Tensor], reference: Tensor, draws: Draws) -> Discrepancy:
    """KID of values [N,D] per seed against [M,D], over torch-fidelity's subsets and over the resamples."""
    subsets = [subset_counts(len(values), len(reference)) for values in generated]
    return discrepancy(generated, reference, cubic, draws, subsets)


def gaussian(a: Tensor, b: Tensor) -> Tensor:
    """Kernel matrix [N,M] of rows of length 1, a [N,D] and b [M,D]: |x - y|^2 is 2 - 2 x.y."""
    return torch.exp((a @ b.T - 1) / SIGMA**2)
