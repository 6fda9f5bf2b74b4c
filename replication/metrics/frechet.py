"""Fréchet distance between Gaussians fitted to features, without the bias of finite n, and of feature maps.

    FD(m, S; mu, C) = |m - mu|^2 + tr S + tr C - 2 tr (C^1/2 S C^1/2)^1/2    (Dowson & Landau 1982; Heusel et al. 2017)

With any B such that C = B B^T, the last trace is the sum of the roots of the eigenvalues of B^T S B. That matrix is
symmetric and positive semi-definite, so they come from a symmetric eigenproblem: real, stable, right where S or C is
singular (fewer images than features), and cheaper than the general one. B is triangular: Cholesky's factor where C has
one.
"""

import statistics
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from replication.metrics.features import LARGEST, content, kept
from replication.metrics.metric import VARIETY, Material, Measurement, Metric, with_interval
from replication.metrics.moments import Gaussian
from replication.metrics.uncertainty import Draws, Influence, calibrated, linear_part
from replication.registry import METRICS

ENOUGH = 10  # images for each feature, below which FD is no straight line in 1/n any more: no FD-infinity is given
SPLITS = 8  # random halvings that FD-infinity averages over
BATCH_BYTES = 1 << 26  # of the matrices whose eigenvalues are computed together: a GPU is idle with one of 256x256
SMALL = 512  # side of matrices solved on the CPU: 3 ms of one thread for 256x256, where a GPU has too little to do
ROWS = 4096  # whose effects are computed together: all of 50,000 with 2,048 features take 3 GB
COLUMNS = 256  # of a block; of symmetric matrices half is computed


@METRICS.register("fd")
class FD(Metric):
    """FID, or FD by another extractor: the distance of Gaussians fitted to features (Heusel et al. 2017).

    The mean over seeds; `fd_min`, `fd_max` and, of several seeds, `fd_std` are their spread. The interval is
    for sets of this size, whose mean lies above the distance of the distributions. Of reconstructions it is rFID (Rombach
    et al. 2022, table 8): both images of a pair are resampled together, so that what the draw of the images adds to the
    distance of independent sets is not in it. Against moments alone the interval is that of the generated images.
    """

    name, label, direction, needs = "fd", "FID", "lower", ("values", "law")
    form, position, by_factor, paper_form, biased = "{:.3g}", 0, True, ".2f", True

    def compute(self, material: Material, values: list[Tensor], law: Tensor | Gaussian) -> Measurement:
        points, replicates, raw = material.once(_distance, values, law, material.draws)
        apart = {} if material.paired else {"fd_min": min(points), "fd_max": max(points)}
        if len(points) > 1:
            apart["fd_std"] = statistics.stdev(points)
        return with_interval("fd", statistics.fmean(points), replicates, apart, 0.0, raw)


@METRICS.register("fd_infinity")
class FDInfinity(Metric):
    """The distance without the bias of finite sets, from ten images a feature on (after Chong & Forsyth 2020).

    The bias of the reference is removed too. Chong and Forsyth's FID-infinity extrapolates over generated images alone
    and keeps it, so that theirs lies higher, by about the distance of a perfect copy to a reference of m images.
    """

    version = 2  # 1 was given from five images a feature on, where its interval held the distance in 87 % of trials
    name, label, direction, needs = "fd_infinity", "FID-infinity", "lower", ("samples", "real")
    form, position, paper_form = "{:.3g}", 1, ".2f"

    def compute(self, material: Material, samples: list[Tensor], real: Tensor) -> Measurement:
        if material.moments or min(map(len, [*samples, real])) < ENOUGH * real.shape[1]:
            return Measurement({})  # moments have no halves
        _, replicates, raw = material.once(_distance, samples, real, material.draws)
        estimates = torch.stack([without_bias(values, real, material.seed) for values in samples]).mean(0)
        noise = material.draws.error_of_mean(estimates)
        return with_interval("fd_infinity", estimates.mean().item(), replicates + noise, raw=raw + noise)


@METRICS.register("sfd")
class SpatialFD(Metric):
    """sFID: the same distance of feature maps that were not pooled (Nash et al. 2021)."""

    name, label, direction, needs = "sfd", "sFID", "lower", ("spatial",)
    form, table, position, by_factor, paper_form, biased = "{:.3g}", VARIETY, 10, True, ".2f", True

    def compute(self, material: Material, spatial: tuple[list[Tensor], Tensor | Gaussian]) -> Measurement:
        generated, reference = spatial
        points, replicates, raw = _distance(generated, reference, material.draws)
        return with_interval("sfd", statistics.fmean(points), replicates, least=0.0, raw=raw)


def _distance(
    generated: Sequence[Tensor], reference: Tensor | Gaussian, draws: Draws
) -> tuple[list[float], Tensor, Tensor]:
    """FD of each seed, and replicates [R] of their mean, calibrated and raw."""
    points = [frechet_distance(values, reference) for values in generated]
    replicates, linear = resampled_fd(generated, reference, points, draws)
    return points, calibrated(replicates, linear), replicates


def fit(values: Tensor, counts: Tensor | None = None) -> Gaussian:
    """Mean and covariance (divisor N - 1) of values [N,D], in which row i is taken counts[i] times (default: once)."""
    if counts is None:
        mean = values.double().mean(0)
        return Gaussian(mean, _gram(values - mean) / (len(values) - 1))
    taken = counts.nonzero().squeeze(1)
    values, weights = values[taken].double(), counts[taken].double()
    n = weights.sum()
    mean = weights @ values / n
    centred = values.sub_(mean).mul_(weights.sqrt()[:, None])  # in place: indexing has copied
    return Gaussian(mean, _gram(centred) / (n - 1))


def _gram(rows: Tensor) -> Tensor:
    """rows^T rows [D,D] of rows [N,D]; blocks below the diagonal are copied."""
    product = rows.new_empty(rows.shape[1], rows.shape[1])
    for start in range(0, len(product), COLUMNS):
        columns = slice(start, start + COLUMNS)
        block = rows[:, columns].T @ rows[:, start:]
        product[columns, start:], product[start:, columns] = block, block.T
    return product


def _eigenroot(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """(V [D,k], s [k]) with covariance = V diag(s^2) V^T, without the directions that have no variance."""
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    kept = eigenvalues > eigenvalues[-1] * len(eigenvalues) * torch.finfo(eigenvalues.dtype).eps
    return vectors[:, kept], eigenvalues[kept].sqrt()


class FrechetDistance:
    """Distance to a fixed reference Gaussian, whose covariance is factored when this is built."""

    def __init__(self, reference: Gaussian):
        self.reference = reference
        factor, failed = torch.linalg.cholesky_ex(reference.covariance)
        if failed:
            vectors, scales = self.root
            factor = torch.linalg.qr((vectors * scales).T).R.T
        self._factor = factor  # B: [D,k], zero above the diagonal

    @cached_property
    def root(self) -> tuple[Tensor, Tensor]:
        """`_eigenroot` of the reference's covariance: seconds with 2,048 features."""
        return _eigenroot(self.reference.covariance)

    def __call__(self, generated: Gaussian) -> Tensor:
        """The distance, float64 scalar []."""
        return distances([self.parts(generated)])[0]

    def parts(self, generated: Gaussian) -> tuple[Tensor, Tensor]:
        """What the distance is made of: |m - mu|^2 + tr S + tr C [], and the matrix [k,k] whose eigenvalues' roots it lacks."""
        difference = generated.mean - self.reference.mean
        traces = generated.covariance.trace() + self.reference.covariance.trace()
        return difference @ difference + traces, self._congruent(generated.covariance)

    def _congruent(self, covariance: Tensor) -> Tensor:
        """B^T covariance B [k,k], right on and below the diagonal; what is zero in B takes no part."""
        factor = self._factor
        product = factor.new_zeros(factor.shape[1], factor.shape[1])
        for start in range(0, len(product), COLUMNS):
            columns = slice(start, start + COLUMNS)
            turned = covariance[start:, start:] @ factor[start:, columns]
            product[start:, columns] = factor[start:, start:].T @ turned
        return product


def distances(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Of as many `FrechetDistance.parts`, float64 [K]; where their matrices are of one size, all go through at once."""
    together = len({len(product) for _, product in parts}) == 1
    batches = [torch.stack([product for _, product in parts])] if together else [product[None] for _, product in parts]
    roots = [_eigenvalues(batch).clamp(min=0).sqrt().sum(1) for batch in batches]
    return torch.stack([traces for traces, _ in parts]) - 2 * torch.cat(roots)


def _eigenvalues(matrices: Tensor) -> Tensor:
    """Of symmetric matrices [K,k,k], given on and below the diagonal: [K,k], on their device."""
    where = "cpu" if matrices.shape[-1] <= SMALL else matrices.device
    return torch.linalg.eigvalsh(matrices.to(where), UPLO="L").to(matrices.device)


def frechet_distance(generated: Tensor, reference: Tensor | Gaussian) -> float:
    """FD of values [N,D] and [M,D], or known moments of the latter."""
    return _to_all(reference)(fit(generated)).item()


def _to_all(reference: Tensor | Gaussian) -> FrechetDistance:
    """The distance to all values [M,D], which is kept with them, or to known moments."""
    if isinstance(reference, Gaussian):
        return FrechetDistance(reference)
    return kept(reference, "distance", lambda: FrechetDistance(fit(reference)))


def _to_each(
    reference: Tensor, kind: str, key: Hashable, parts: Sequence[Tensor] | Tensor, law: Callable[[Tensor], Gaussian]
) -> Iterable[FrechetDistance]:
    """The distance to the law of each of these parts of a reference; all are kept where they are small."""
    small = 16 * len(parts) * reference.shape[1] ** 2 <= LARGEST  # two float64 matrices for each
    each = (FrechetDistance(law(part)) for part in parts)
    return kept(reference, kind, lambda: list(each), key) if small else each


def without_bias(generated: Tensor, reference: Tensor, seed: int) -> Tensor:
    """FD-infinity of values [N,D] and [M,D], once for each of SPLITS random halvings; their mean is the estimate.

    FD is a straight line in 1/n over a wide range of n (Chong & Forsyth 2020). They fit it to random subsets of 15
    sizes and keep the reference, whose bias stays in their figure; here both sets are halved, for the reference is a
    sample too, and the line goes through FD at (n, m) and the mean FD of the two pairs of halves: 2 FD - mean. Two halves
    together are the whole, so that the noise of single images cancels from their mean, which is not so for independent
    subsets; and a line through smaller sizes would only take in more of the curve. The value may be negative, as KID may.
    """
    generator = torch.Generator().manual_seed(seed)
    halves = [
        [torch.randperm(len(v), generator=generator).tensor_split(2) for v in (generated, reference)]
        for _ in range(SPLITS)
    ]
    of_generated, of_reference = ([rows for split in halves for rows in split[side]] for side in (0, 1))
    key = len(generated), seed
    to_halves = _to_each(reference, "halves", key, of_reference, lambda rows: fit(reference[rows]))
    apart = [to(fit(generated[rows])).item() for rows, to in zip(of_generated, to_halves, strict=True)]
    whole = frechet_distance(generated, reference)
    estimates = [2 * whole - sum(pair) / 2 for pair in zip(apart[::2], apart[1::2], strict=True)]
    return torch.tensor(estimates, dtype=torch.float64)


def influence(generated: Tensor, reference: Tensor | Gaussian) -> Influence:
    """First-order effect of each row of values [N,D] and [M,D] on their FD; of known moments, no row has any.

    With d = m - mu and the transport map A = B (B^T S B)^-1/2 B^T from S to C, a row x of the first set has the effect
    2 d.x + |x|^2 - x.A x, and a row y of the second -2 d.y + |y|^2 - y.A^-1 y, both centred on their means.
    """
    (mean, covariance), distance = fit(generated), _to_all(reference)
    reference_mean, (vectors, scales) = distance.reference.mean, distance.root
    factor = vectors * scales
    turned, roots = _eigenroot(factor.T @ covariance @ factor)
    difference = mean - reference_mean
    of_x = _effects(generated, mean, 2 * difference, factor @ (turned / roots.sqrt()))
    if isinstance(reference, Gaussian):
        return Influence(of_x, of_x.new_zeros(0))
    back = (vectors / scales) @ (turned * roots.sqrt())
    return Influence(of_x, _effects(reference, reference_mean, -2 * difference, back))


def _effects(values: Tensor, mean: Tensor, slope: Tensor, root: Tensor) -> Tensor:
    """slope.x + |x|^2 - |x root|^2 of each row x of values [N,D] less their mean, float64 [N], in memory for ROWS of them."""
    parts = (part.double() - mean for part in values.split(ROWS))
    return torch.cat([x @ slope + x.square().sum(1) - (x @ root).square().sum(1) for x in parts])


def _resampled(reference: Tensor | Gaussian, draws: Draws) -> Iterable[FrechetDistance]:
    """The distance to each resample of the reference; known moments stay."""
    if isinstance(reference, Gaussian):
        return [FrechetDistance(reference)] * len(draws.reference)
    key = content(draws.reference)
    return _to_each(reference, "resamples", key, draws.reference, lambda of: fit(reference, of.to(reference.device)))


def resampled_fd(
    generated: Sequence[Tensor], reference: Tensor | Gaussian, points: Sequence[float], draws: Draws
) -> tuple[Tensor, Tensor]:
    """Mean FD over the seeds in each resample, and its linear part: values [N,D] per seed, [M,D] -> [R], [R].

    `points` are the distances of each seed.
    """
    device, replicates = generated[0].device, []
    together = max(BATCH_BYTES // (8 * generated[0].shape[1] ** 2), 1)
    waiting: list[tuple[Tensor, Tensor]] = []
    resampled = _resampled(reference, draws)
    for seeds, counts, distance in zip(draws.seeds.tolist(), draws.generated, resampled, strict=True):
        fits = [fit(generated[s], row[: draws.sizes[s]].to(device)) for s, row in zip(seeds, counts, strict=True)]
        waiting += [distance.parts(gaussian) for gaussian in fits]
        if len(waiting) >= together:
            replicates.append(distances(waiting))
            waiting = []
    replicates += [distances(waiting)] if waiting else []
    influences = [influence(values, reference) for values in generated]
    of_slots = torch.cat(replicates).reshape(len(draws.seeds), -1)
    return of_slots.mean(1).cpu(), linear_part(points, influences, draws)
