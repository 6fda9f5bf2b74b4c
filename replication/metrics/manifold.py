"""Figures of nearest neighbours: precision, recall, density and coverage, and memorisation.

For the four each set is covered with balls that reach to the k-th nearest neighbour:

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

from replication.metrics.features import Features, content, kept
from replication.metrics.metric import VARIETY, Material, Measurement, Metric, Row, columns, with_interval
from replication.metrics.uncertainty import Influence, Interval, linear_part, wilson
from replication.registry import METRICS
from replication.types import InputError

K_PRECISION = 3
K_DENSITY = 5
QUANTILE = 0.05
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
    for rows, places, distances in _blocks(generated, real):
        precision[rows] |= (distances <= real_radii[places]).any(1)
        recall[places] |= (distances <= generated_radii[rows, None]).any(0)
        held = distances < wide_radii[places]
        density[rows] += held.sum(1)
        coverage[places] |= held.any(0)
    return Manifold(precision.double(), recall.double(), density.double() / K_DENSITY, coverage.double())


class _Memorisation(Metric):
    """Are generated images nearer to the training set than real images that no one trained on?

    Each image has one number, the distance to its nearest training image. Held-out real images show how small it is by
    chance, so no threshold is invented. Two figures compare the generated images with them:

        memorisation      share of generated images as near as the nearest 5 % of held-out ones; 0.05 = no memorisation
        memorisation_auc  P(a generated image is nearer than a held-out one), ties half (Mann & Whitney 1947); 0.5 = none

    The first sees a few copies among many good images, the second a shift of all of them. Any rows serve as images. The
    default is an extractor's values: a pixel distance calls every blurred or empty image memorised, since it lies near
    the mean of all images, and misses a copy that moved by one pixel. A generator far off the data gives less than 0.05
    and 0.5: that is no proof of anything but distance. An extractor trained on the training set sees all new images, held
    out or generated, from the same side, but copies are found by it for certain.
    """

    direction, needs, table, interval = "lower", ("generated", "training", "held_out"), VARIETY, "wilson"

    def compute(
        self, material: Material, generated: list[Features], training: Features, held_out: Features
    ) -> Measurement:
        found = material.once(_of_features, generated, training, held_out)
        return Measurement({f"{self.name}{end}": found[f"{self.name}{end}"] for end in ("", "_low", "_high", "_se")})


@METRICS.register("memorisation")
class Memorisation(_Memorisation):
    """The share of images as near to a training image as the nearest 5 % of held-out ones (compare Meehan et al. 2020)."""

    name, label, position = "memorisation", "Memorisation", 15


@METRICS.register("memorisation_auc")
class MemorisationAUC(_Memorisation):
    """P(an image is nearer to the training set than a held-out one), ties half (Meehan et al. 2020)."""

    name, label, position = "memorisation_auc", "Memorisation AUC", 16


def _of_features(generated: list[Features], training: Features, held_out: Features) -> Row:
    return memorisation(torch.cat([features.values for features in generated]), training.values, held_out.values)


def _statistics(generated: Tensor, held_out: Tensor) -> Tensor:
    """(share, AUC) of two sets of distances [N] and [M], float64 [2] on the CPU."""
    share = (generated <= torch.quantile(held_out, QUANTILE)).double().mean()
    ordered = held_out.sort().values
    nearer = len(ordered) - torch.searchsorted(ordered, generated, right=True)  # held-out images that lie farther
    no_farther = len(ordered) - torch.searchsorted(ordered, generated)
    return torch.stack([share, (nearer + no_farther).double().mean() / (2 * len(ordered))]).cpu()


def memorisation(generated: Tensor, training: Tensor, held_out: Tensor, resamples: int = 200) -> Row:
    """Of values [N,D] against training [T,D] and held-out ones [M,D]: `memorisation` and `memorisation_auc`.

    Each also with `_low`, `_high` (95 %) and `_se`, over a bootstrap of generated and held-out images; the training set
    is what it is. Images of several seeds may be joined. Raises InputError for an empty set or unequal widths.
    """
    sets = {"generated": generated, "training": training, "held-out": held_out}
    for which, values in sets.items():
        if values.ndim != 2 or not len(values) or values.shape[1] != training.shape[1]:
            shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in sets.items())
            raise InputError(f"memorisation: {which} images must be [N,D] of the training images' width; got {shapes}")
    near = nearest_distances(generated, training, 1)
    baseline = kept(held_out, "nearest", lambda: nearest_distances(held_out, training, 1), content(training))
    near, baseline = (distances[:, 0].double().cpu() for distances in (near, baseline))
    generator = torch.Generator().manual_seed(0)
    replicates = torch.stack(
        [
            _statistics(*(d[torch.randint(len(d), (len(d),), generator=generator)] for d in (near, baseline)))
            for _ in range(resamples)
        ]
    )
    points, errors = _statistics(near, baseline).tolist(), replicates.std(0).tolist()
    n, found = min(len(near), len(baseline)), Row()
    for name, point, error in zip(("memorisation", "memorisation_auc"), points, errors, strict=True):
        # Wilson's, with as many images as would explain the standard error; n where it is 0, as it is at 0 and 1
        effective = point * (1 - point) / error**2 if 0 < point < 1 and error > 0 else n
        found |= columns(name, point, Interval(*wilson(point * effective, effective), error))
    return found
