"""Kernel distance (KID): the unbiased squared MMD with the cubic kernel k(a, b) = (a.b / D + 1)^3 (Binkowski et al. 2018)."""

from collections.abc import Sequence

import numpy
import torch
from torch import Tensor

from replication.metrics.metric import Material, Measurement, Metric, with_interval
from replication.metrics.mmd import Discrepancy, discrepancy
from replication.metrics.uncertainty import Draws, calibrated
from replication.registry import METRICS

SUBSETS, SUBSET_SIZE, SUBSET_SEED = 100, 1000, 2020  # torch-fidelity's defaults


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
