"""The Fréchet distance as metrics: of features, without the bias of finite sets, and of feature maps."""

import statistics
from collections.abc import Sequence

from torch import Tensor

from replication.metrics.frechet import frechet_distance, resampled_fd, without_bias
from replication.metrics.metric import VARIETY, Material, Metric, Row, with_interval
from replication.metrics.uncertainty import Draws, averaging_noise, calibrated
from replication.registry import METRICS

ENOUGH = 5  # images for each feature, below which FD is no straight line in 1/n any more: no FD-infinity is given


@METRICS.register("fd")
class FD(Metric):
    """FID, or FD by another extractor: the distance of Gaussians fitted to features (Heusel et al. 2017).

    The mean over seeds; `fd_min`, `fd_max` and, of several seeds, `fd_std` say how far those lie apart. The interval is
    for sets of this size, whose mean lies above the distance of the distributions. Of reconstructions it is rFID (Rombach
    et al. 2022, table 8): both images of a pair are resampled together, so that what the draw of the images adds to the
    distance of independent sets is not in it.
    """

    name, label, higher_is_better, needs = "fd", "FID", False, ("values", "real")
    form, position, by_factor, paper_form = "{:.3g}", 0, True, ".2f"

    def compute(self, material: Material, values: list[Tensor], real: Tensor) -> Row:
        points, replicates = material.once(_distance, values, real, material.draws)
        row = _of_distance("fd", points, replicates)
        if material.paired:
            return row
        apart = {"fd_std": statistics.stdev(points)} if len(points) > 1 else {}
        return row | {"fd_min": min(points), "fd_max": max(points)} | apart


@METRICS.register("fd_infinity")
class FDInfinity(Metric):
    """The distance without the bias of finite sets (Chong & Forsyth 2020), of five images or more for each feature."""

    name, label, higher_is_better, needs = "fd_infinity", "FID-infinity", False, ("samples", "real")
    form, position, paper_form = "{:.3g}", 1, ".2f"

    def compute(self, material: Material, samples: list[Tensor], real: Tensor) -> Row:
        if min(map(len, [*samples, real])) < ENOUGH * real.shape[1]:
            return {}
        _, replicates = material.once(_distance, samples, real, material.draws)
        estimates = [without_bias(values, real, material.seed) for values in samples]
        noise = averaging_noise([e.var().item() / len(e) for e in estimates], len(replicates), material.seed)
        point = statistics.fmean(e.mean().item() for e in estimates)
        return with_interval("fd_infinity", point, replicates + noise)


@METRICS.register("sfd")
class SpatialFD(Metric):
    """sFID: the same distance of feature maps that were not pooled (Nash et al. 2021)."""

    name, label, higher_is_better, needs = "sfd", "sFID", False, ("spatial",)
    form, table, position, by_factor, paper_form = "{:.3g}", VARIETY, 10, True, ".2f"

    def compute(self, material: Material, spatial: list[Tensor]) -> Row:
        *generated, reference = spatial
        return _of_distance("sfd", *_distance(generated, reference, material.draws))


def _distance(generated: Sequence[Tensor], reference: Tensor, draws: Draws) -> tuple[list[float], Tensor]:
    """FD of each seed, and replicates [R] of their mean."""
    points = [frechet_distance(values, reference) for values in generated]
    return points, calibrated(*resampled_fd(generated, reference, points, draws))


def _of_distance(name: str, points: Sequence[float], replicates: Tensor) -> Row:
    row = with_interval(name, statistics.fmean(points), replicates)
    return {**row, f"{name}_low": max(0.0, row[f"{name}_low"])}  # nothing below zero is meant
