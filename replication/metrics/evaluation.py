"""From features to the figures of a row: each metric's point, and its interval over fresh sets of images."""

import statistics
from collections.abc import Sequence

import torch
from torch import Tensor
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

from replication.metrics.features import Features
from replication.metrics.frechet import frechet_distance, resampled_fd, without_bias
from replication.metrics.inception_score import resampled_is
from replication.metrics.kernel_distance import SUBSETS, kernel_distance
from replication.metrics.manifold import Manifold, manifold
from replication.metrics.uncertainty import (
    Draws,
    Influence,
    averaging_noise,
    calibrated,
    draw,
    draw_paired,
    linear_part,
    recentred,
)
from replication.types import InputError

ENOUGH = 5  # images for each feature, below which FD is no straight line in 1/n any more: no FD-infinity is given
LEAST_IMAGES = 10  # one per split of the inception score

Row = dict[str, float]


def evaluate(
    generated: Sequence[Features],
    reference: Features,
    resamples: int = 200,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Row:
    """Metrics of generated images, one Features per seed, against a reference; `device` is where they are computed.

    Keys: `fd`, `kid`, `precision`, `recall`, `density`, `coverage`; `fd_infinity` where there are five images or more for
    each feature, `is` where the features have logits, `sfd` where they have a spatial part; each also with `_low`, `_high`
    (95 %) and `_se`. Points are means over seeds: `fd_min`, `fd_max` and, of several seeds, `fd_std` say how far those lie
    apart. `kid_std` over subsets and `is_std` over splits are what papers print.

    The interval of `fd` is for sets of this size, whose mean FD lies above the distances of the distributions; that one
    is estimated by `fd_infinity`. `kid` has no such bias; its error is not `kid_std`, the scatter of sets of at most
    1,000 images whatever n is, but the bootstrap's over all images, to which the error of averaging over finitely many
    subsets is added. Intervals of precision, recall, density and coverage hold the balls and what lies in them fixed;
    several seeds widen them to those seeds' own scatter, with one seed they are too narrow for small sets: density's was
    0.4 of its scatter over references of 55 images.
    Raises InputError for no seeds, fewer than ten images, or features of different extractors.
    """
    _check(generated, reference)
    draws = draw([len(features) for features in generated], len(reference), resamples, seed)
    values, real = [features.values.to(device) for features in generated], reference.values.to(device)
    row = (
        _frechet(values, real, draws, seed) | _kernel(values, real, draws, seed) | _manifold(values, real, draws, seed)
    )
    if logits := [features.logits for features in generated if features.logits is not None]:
        row |= _inception(logits, draws)
    if reference.spatial is not None:
        spatial = [features.spatial.to(device) for features in generated if features.spatial is not None]
        row |= _of_distance("sfd", *_distance(spatial, reference.spatial.to(device), draws))
    return row


def evaluate_reconstructions(
    reconstructions: Features,
    originals: Features,
    resamples: int = 200,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Row:
    """`fd` with its interval, of images against what a first stage made of them (rFID, Rombach et al. 2022, table 8).

    Row i of one is row i of the other, and both are resampled together: what the draw of the images adds to an FD of
    independent sets is not in this one. Raises InputError as `evaluate` does.
    """
    _check([reconstructions], originals)
    draws = draw_paired(len(originals), resamples, seed)
    return _of_distance("fd", *_distance([reconstructions.values.to(device)], originals.values.to(device), draws))


def _check(generated: Sequence[Features], reference: Features) -> None:
    if not generated:
        raise InputError("metrics: no generated images; give the features of at least one seed")
    for index, features in enumerate([*generated, reference]):
        which = "reference" if index == len(generated) else f"seed {index} of the generated images"
        if len(features) < LEAST_IMAGES:
            raise InputError(f"metrics: {which} has {len(features)} images, at least {LEAST_IMAGES} are needed")
        if _widths(features) != _widths(reference):
            raise InputError(f"metrics: {which} comes from another extractor than the reference")


def _widths(features: Features) -> dict[str, int]:
    return {name: part.shape[1] for name, part in features.parts().items()}


def _with_interval(key: str, point: float, replicates: Tensor) -> Row:
    low, high, error = recentred(point, replicates)
    return {key: point, f"{key}_low": low, f"{key}_high": high, f"{key}_se": error}


def _frechet(generated: Sequence[Tensor], reference: Tensor, draws: Draws, seed: int) -> Row:
    points, replicates = _distance(generated, reference, draws)
    row = _of_distance("fd", points, replicates) | {"fd_min": min(points), "fd_max": max(points)}
    if len(points) > 1:
        row["fd_std"] = statistics.stdev(points)
    if min(map(len, [*generated, reference])) < ENOUGH * reference.shape[1]:
        return row
    estimates = [without_bias(values, reference, seed) for values in generated]
    noise = averaging_noise([e.var().item() / len(e) for e in estimates], len(replicates), seed)
    point = statistics.fmean(e.mean().item() for e in estimates)
    return row | _with_interval("fd_infinity", point, replicates + noise)


def _distance(generated: Sequence[Tensor], reference: Tensor, draws: Draws) -> tuple[list[float], Tensor]:
    """FD of each seed, and replicates [R] of their mean."""
    points = [frechet_distance(values, reference) for values in generated]
    return points, calibrated(*resampled_fd(generated, reference, points, draws))


def _of_distance(key: str, points: Sequence[float], replicates: Tensor) -> Row:
    row = _with_interval(key, statistics.fmean(points), replicates)
    return {**row, f"{key}_low": max(0.0, row[f"{key}_low"])}  # nothing below zero is meant


def _kernel(generated: Sequence[Tensor], reference: Tensor, draws: Draws, seed: int) -> Row:
    means, scatters, replicates, linear = kernel_distance(generated, reference, draws)
    noise = averaging_noise([scatter**2 / SUBSETS for scatter in scatters], len(replicates), seed)
    row = _with_interval("kid", statistics.fmean(means), calibrated(replicates, linear) + noise)
    return row | {"kid_std": statistics.fmean(scatters)}


def _inception(logits: Sequence[Tensor], draws: Draws) -> Row:
    scores = [isc_features_to_metric(part) for part in logits]
    point = statistics.fmean(score[KEY_METRIC_ISC_MEAN] for score in scores)
    row = _with_interval("is", point, resampled_is(logits, draws))
    return row | {"is_std": statistics.fmean(score[KEY_METRIC_ISC_STD] for score in scores)}


def _manifold(generated: Sequence[Tensor], reference: Tensor, draws: Draws, seed: int) -> Row:
    covers = [manifold(values, reference) for values in generated]
    influences = [_manifold_influences(cover) for cover in covers]
    row: Row = {}
    for key in influences[0]:
        points = [cover.metrics()[key] for cover in covers]
        replicates = linear_part(points, [of_seed[key] for of_seed in influences], draws)
        # what the balls' own sampling adds shows between seeds alone
        between = statistics.variance(points) / len(points) if len(points) > 1 else 0.0
        missing = max(0.0, between - replicates.var().item()) * len(points)
        noise = averaging_noise([missing] * len(points), len(replicates), seed)
        row |= _with_interval(key, statistics.fmean(points), replicates + noise)
    return row


def _manifold_influences(cover: Manifold) -> dict[str, Influence]:
    """Each metric is a mean over one of the two sets, the balls being fixed."""
    recall, coverage = cover.recall_hits.double(), cover.coverage_hits.double()
    no_generated, no_real = torch.zeros_like(cover.density_counts), torch.zeros_like(recall)
    return {
        "precision": Influence(cover.precision_hits.double(), no_real),
        "recall": Influence(no_generated, recall),
        "density": Influence(cover.density_counts, no_real),
        "coverage": Influence(no_generated, coverage),
    }
