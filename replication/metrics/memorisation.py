"""Memorisation: are generated images nearer to the training set than real images that no one trained on?

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

import torch
from torch import Tensor

from replication.metrics.features import Features, content, kept
from replication.metrics.manifold import nearest_distances
from replication.metrics.metric import VARIETY, Material, Measurement, Metric, Row, columns
from replication.metrics.uncertainty import Interval, wilson
from replication.registry import METRICS
from replication.types import InputError

QUANTILE = 0.05


class _Memorisation(Metric):
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


def memorisation(generated: Tensor, training: Tensor, held_out: Tensor, resamples: int = 200, seed: int = 0) -> Row:
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
    generator = torch.Generator().manual_seed(seed)
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
