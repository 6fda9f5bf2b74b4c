"""CMMD (Jayasumana et al. 2024): the squared MMD of CLIP embeddings of length 1, by a Gaussian kernel, times 1,000.

    k(x, y) = exp(-|x - y|^2 / (2 sigma^2)),  sigma = 10

As the authors' code has it, means are taken over all pairs, an image with itself included (Gretton et al. 2012, eq. 5), so
that of two finite sets of one law it is above 0, by 1,000 (1 - E k) (1/n + 1/m).
"""

import statistics

import torch
from torch import Tensor
from torch.nn.functional import normalize

from replication.metrics.metric import VARIETY, Material, Measurement, Metric, with_interval
from replication.metrics.mmd import discrepancy
from replication.metrics.uncertainty import calibrated
from replication.registry import METRICS

SIGMA, SCALE = 10.0, 1000.0


@METRICS.register("cmmd")
class CMMD(Metric):
    """CMMD: the squared MMD of CLIP embeddings by a Gaussian kernel (Jayasumana et al. 2024), of that extractor only.

    The interval is for sets of this size: the bias of the estimator is in the figure, and not taken out.
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


def gaussian(a: Tensor, b: Tensor) -> Tensor:
    """Kernel matrix [N,M] of rows of length 1, a [N,D] and b [M,D]: |x - y|^2 is 2 - 2 x.y."""
    return torch.exp((a @ b.T - 1) / SIGMA**2)
