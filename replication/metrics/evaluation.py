"""From features to the figures of a row: torch-fidelity's point values, each distance with its interval."""

from collections.abc import Sequence
from functools import partial

import torch

from replication.metrics.features import Features
from replication.metrics.fidelity import KID_SUBSETS, fidelity_metrics
from replication.metrics.frechet import FrechetDistance, fit, resampled_fd
from replication.metrics.inception_score import resampled_is
from replication.metrics.kernel_distance import resampled_kid
from replication.metrics.uncertainty import Statistic, bootstrap, recentred
from replication.types import InputError

LEAST_IMAGES = 10  # one per split of the inception score


def _check(generated: Sequence[Features], reference: Features) -> None:
    if not generated:
        raise InputError("metrics: no generated images; give the features of at least one seed")
    for index, features in enumerate([*generated, reference]):
        which = "reference" if index == len(generated) else f"seed {index} of the generated images"
        if len(features) < LEAST_IMAGES:
            raise InputError(f"metrics: {which} has {len(features)} images, at least {LEAST_IMAGES} are needed")
        if (
            features.values.shape[1] != reference.values.shape[1]
            or features.logits.shape[1] != reference.logits.shape[1]
        ):
            raise InputError(f"metrics: {which} comes from another extractor than the reference")


def _subset_noise(subset_stds: list[float], resamples: int, seed: int) -> torch.Tensor:
    """Error of KID as the mean of a finite number of random subsets, in place of all images: draws [R]."""
    generator = torch.Generator().manual_seed(seed)
    variance = sum(std**2 / KID_SUBSETS for std in subset_stds) / len(subset_stds) ** 2
    return variance**0.5 * torch.randn(resamples, generator=generator, dtype=torch.float64)


def evaluate(
    generated: Sequence[Features],
    reference: Features,
    resamples: int = 200,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> dict[str, float]:
    """Metrics of generated images, one Features per seed, against a reference; `device` is where resampling is done.

    Keys: `fd`, `kid`, `is`, each also with `_low`, `_high` (95 %) and `_se`; `fd_min` and `fd_max` over seeds;
    `kid_std` over subsets and `is_std` over splits, as papers print them; `precision`, `recall`. Points are means over
    seeds. The error of KID is not `kid_std`: that is the scatter of sets of at most 1,000 images, whatever n is. It is
    the bootstrap's over all n images, to which the error of averaging over finitely many subsets is added. Raises
    InputError for no seeds, fewer than ten images, or features of different extractors.
    """
    _check(generated, reference)
    per_seed = [fidelity_metrics(features, reference) for features in generated]
    point = {key: sum(metrics[key] for metrics in per_seed) / len(per_seed) for key in per_seed[0]}
    distance = FrechetDistance(fit(reference.values.to(device)))
    real = reference.values.to(device)
    statistics: dict[str, list[Statistic]] = {"fd": [], "kid": [], "is": []}
    for features in generated:
        values, logits = features.values.to(device), features.logits.to(device)
        statistics["fd"].append(partial(resampled_fd, values, distance))
        statistics["kid"].append(partial(resampled_kid, values, real))
        statistics["is"].append(partial(resampled_is, logits))
    sizes = [len(features) for features in generated]
    for key, of_seeds in statistics.items():
        replicates = bootstrap(of_seeds, sizes, resamples, seed, device)
        if key == "kid":
            replicates = replicates + _subset_noise([metrics["kid_std"] for metrics in per_seed], resamples, seed)
        point[f"{key}_low"], point[f"{key}_high"], point[f"{key}_se"] = recentred(point[key], replicates)
    point["fd_low"] = max(0.0, point["fd_low"])  # a distance: nothing below zero is meant
    point["fd_min"], point["fd_max"] = (pick(metrics["fd"] for metrics in per_seed) for pick in (min, max))
    return point
