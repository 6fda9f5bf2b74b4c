"""Precision, recall, density and coverage: each set is covered with balls that reach to the k-th nearest neighbour.

                     share of                    that lie in
    precision        generated images            the ball of any real image         Kynkäänniemi et al. 2019, k = 3
    recall           real images                 the ball of any generated image    the same
    density          (not a share: real balls that hold a generated image, over k)  Naeem et al. 2020, k = 5
    coverage         real images' balls          (that hold any generated image)    the same

The balls of precision and recall are closed, as in torch-fidelity; those of density and coverage are open, as in their
authors' code, so that a copy of the real set has density 1 and coverage 1. One pass over the distances gives all four,
in blocks: memory does not grow with the product of the two sets.
"""

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from replication.metrics.features import kept
from replication.metrics.metric import VARIETY, Material, Measurement, Metric, with_interval
from replication.metrics.uncertainty import Influence, linear_part
from replication.registry import METRICS
from replication.types import InputError

K_PRECISION = 3
K_DENSITY = 5
BLOCK = 1024  # images on either side of a block of distances: 4 MB, which a processor's cache holds


class Manifold(NamedTuple):
    """What each image adds to the four metrics, which are plain means over images and so are cheap to resample."""

    precision: Tensor  # float64 [N]: 1 where the generated image lies in the ball of a real one, else 0
    recall: Tensor  # float64 [M]: 1 where the real image lies in the ball of a generated one
    density: Tensor  # float64 [N]: real balls that hold the generated image, divided by k
    coverage: Tensor  # float64 [M]: 1 where the real image's ball holds a generated one


class OfManifold(Metric):
    """A mean over images; its interval holds the balls and what lies in them fixed.

    Several seeds widen it to those seeds' own scatter; with one seed it is too narrow for small sets: density's was 0.4 of
    its scatter over references of 55 images.
    """

    direction, needs, table = "higher", ("samples", "real"), VARIETY
    part: str  # of Manifold
    over_generated: bool  # whether the mean is over generated images, else over real ones

    def compute(self, material: Material, samples: list[Tensor], real: Tensor) -> Measurement:
        found = material.once(covers, samples, material.once(own_radii, samples), real)
        return self.mean(material, found, torch.arange(len(real)))

    def mean(self, material: Material, found: Sequence[Manifold], taken: Tensor) -> Measurement:
        """Of the seeds' manifolds; `taken` are the real images that they are of, int64 [K] out of the material's M."""
        each = [getattr(cover, self.part).cpu() for cover in found]
        points = [part.mean().item() for part in each]
        influences, draws = [], material.draws
        for part, size in zip(each, draws.sizes, strict=True):
            of_generated, of_real = part.new_zeros(size), part.new_zeros(draws.reference.shape[1])
            if self.over_generated:
                of_generated += part
            else:
                of_real[taken] = (part - part.mean()) * len(of_real) / len(taken)
            influences.append(Influence(of_generated, of_real))
        replicates = linear_part(points, influences, draws)
        if (between := statistics.variance(points) / len(points) if len(points) > 1 else 0.0) > 0:
            # what the balls' own sampling adds shows between seeds alone
            missing = max(0.0, 1 - replicates.var().item() / between)
            replicates = replicates + missing**0.5 * draws.error_of_mean(torch.tensor(points).double())
        return with_interval(self.name, statistics.fmean(points), replicates)


@METRICS.register("precision")
class Precision(OfManifold):
    """The share of generated images in the balls of real ones (Kynkäänniemi et al. 2019)."""

    name = part = "precision"
    label, position, over_generated = "Precision", 11, True


@METRICS.register("recall")
class Recall(OfManifold):
    """The share of real images in the balls of generated ones (Kynkäänniemi et al. 2019)."""

    name = part = "recall"
    label, position, over_generated = "Recall", 12, False


@METRICS.register("density")
class Density(OfManifold):
    """How many balls of real images hold a generated one, over k (Naeem et al. 2020)."""

    name = part = "density"
    label, position, over_generated = "Density", 13, True


@METRICS.register("coverage")
class Coverage(OfManifold):
    """The share of real images' balls that hold any generated image (Naeem et al. 2020)."""

    name = part = "coverage"
    label, position, over_generated = "Coverage", 14, False


def own_radii(samples: Sequence[Tensor]) -> list[Tensor]:
    """The distance of each generated image to its third neighbour among its seed's, values [N,D] per seed -> [N] per seed."""
    # the nearest of all is the image itself, so that the k-th neighbour has index k
    return [nearest_distances(values, values, K_PRECISION + 1)[:, -1] for values in samples]


def covers(samples: Sequence[Tensor], radii: Sequence[Tensor], real: Tensor) -> list[Manifold]:
    """`manifold` of each seed."""
    return [manifold(values, own, real) for values, own in zip(samples, radii, strict=True)]


def _blocks(a: Tensor, b: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Distances of a [N,D] to b [M,D] as (rows, columns, block), all the columns of some rows before the next rows."""
    for row in range(0, len(a), BLOCK):
        rows = slice(row, row + BLOCK)
        for column in range(0, len(b), BLOCK):
            columns = slice(column, column + BLOCK)
            yield rows, columns, torch.cdist(a[rows], b[columns])


def nearest_distances(a: Tensor, b: Tensor, k: int) -> Tensor:
    """The k smallest distances of each row of a [N,D] to the rows of b [M,D], ascending -> [N,k]."""
    nearest = torch.full((len(a), k), torch.inf, dtype=a.dtype, device=a.device)
    for rows, _, distances in _blocks(a, b):
        nearest[rows] = torch.cat([nearest[rows], distances], dim=1).topk(k, largest=False).values
    return nearest


def manifold(generated: Tensor, generated_radii: Tensor, real: Tensor) -> Manifold:
    """Of generated values [N,D], with their `own_radii` [N], against real ones [M,D], on their device.

    Raises InputError for fewer images than the balls need neighbours.
    """
    for which, values in (("generated", generated), ("reference", real)):
        if len(values) <= K_DENSITY:
            raise InputError(f"metrics: {len(values)} {which} images; density needs more than {K_DENSITY}")
    neighbours = kept(real, "neighbours", lambda: nearest_distances(real, real, K_DENSITY + 1))
    real_radii, wide_radii = neighbours[:, K_PRECISION], neighbours[:, K_DENSITY]
    precision, density = generated_radii.new_zeros(len(generated), dtype=torch.bool), torch.zeros_like(generated_radii)
    recall, coverage = (real_radii.new_zeros(len(real), dtype=torch.bool) for _ in range(2))
    for rows, columns, distances in _blocks(generated, real):
        precision[rows] |= (distances <= real_radii[columns]).any(1)
        recall[columns] |= (distances <= generated_radii[rows, None]).any(0)
        held = distances < wide_radii[columns]
        density[rows] += held.sum(1)
        coverage[columns] |= held.any(0)
    return Manifold(precision.double(), recall.double(), density.double() / K_DENSITY, coverage.double())
