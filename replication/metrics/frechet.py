"""Fréchet distance between Gaussians fitted to features, its value without the bias of finite n, and its resamples.

    FD(m, S; mu, C) = |m - mu|^2 + tr S + tr C - 2 tr (C^1/2 S C^1/2)^1/2    (Dowson & Landau 1982; Heusel et al. 2017)

With any B such that C = B B^T, the last trace is the sum of the roots of the eigenvalues of B^T S B. That matrix is
symmetric and positive semi-definite, so they come from a symmetric eigenproblem: real, stable, right where S or C is
singular (fewer images than features), and cheaper than the general one. B is triangular: Cholesky's factor where C has
one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from replication.metrics.uncertainty import Draws, Influence, linear_part

SPLITS = 8  # random halvings that FD-infinity averages over
COLUMNS = 256  # of a block of a matrix of which half is computed


class Gaussian(NamedTuple):
    """Mean [D] and covariance [D,D], float64."""

    mean: Tensor
    covariance: Tensor


def fit(values: Tensor, counts: Tensor | None = None) -> Gaussian:
    """Mean and covariance (divisor N - 1) of values [N,D], in which row i is taken counts[i] times (default: once)."""
    if counts is None:
        values = values.double()
        mean = values.mean(0)
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
            vectors, scales = _eigenroot(reference.covariance)
            factor = torch.linalg.qr((vectors * scales).T).R.T
        self._factor = factor  # B: [D,k], zero above the diagonal

    def __call__(self, generated: Gaussian) -> Tensor:
        """The distance, float64 scalar []."""
        product = torch.linalg.eigvalsh(self._congruent(generated.covariance), UPLO="L")
        difference = generated.mean - self.reference.mean
        traces = generated.covariance.trace() + self.reference.covariance.trace()
        return difference @ difference + traces - 2 * product.clamp(min=0).sqrt().sum()

    def _congruent(self, covariance: Tensor) -> Tensor:
        """B^T covariance B [k,k], right on and below the diagonal; what is zero in B takes no part."""
        factor = self._factor
        product = factor.new_zeros(factor.shape[1], factor.shape[1])
        for start in range(0, len(product), COLUMNS):
            columns = slice(start, start + COLUMNS)
            turned = covariance[start:, start:] @ factor[start:, columns]
            product[start:, columns] = factor[start:, start:].T @ turned
        return product


def frechet_distance(generated: Tensor, reference: Tensor) -> float:
    """FD of values [N,D] and [M,D]; torch-fidelity's to 1e-6 relative."""
    return FrechetDistance(fit(reference))(fit(generated)).item()


def without_bias(generated: Tensor, reference: Tensor, seed: int) -> Tensor:
    """FD-infinity of values [N,D] and [M,D], once for each of SPLITS random halvings; their mean is the estimate.

    FD is a straight line in 1/n over a wide range of n (Chong & Forsyth 2020). They fit it to random subsets of 15
    sizes and keep the reference; here both sets are halved, for the reference is a sample too, and the line goes
    through FD at (n, m) and the mean FD of the two pairs of halves: 2 FD - mean. Two halves together are the whole, so
    that the noise of single images cancels from their mean, which is not so for independent subsets; and a line through
    smaller sizes would only take in more of the curve. The value may be negative, as KID may.
    """
    generator = torch.Generator().manual_seed(seed)
    whole = frechet_distance(generated, reference)
    estimates = []
    for _ in range(SPLITS):
        halves = zip(
            *(torch.randperm(len(values), generator=generator).tensor_split(2) for values in (generated, reference)),
            strict=True,
        )
        distances = [frechet_distance(generated[g], reference[r]) for g, r in halves]
        estimates.append(2 * whole - sum(distances) / 2)
    return torch.tensor(estimates, dtype=torch.float64)


def influence(generated: Tensor, reference: Tensor) -> Influence:
    """First-order effect of each row of values [N,D] and [M,D] on their FD.

    With d = m - mu and the transport map A = B (B^T S B)^-1/2 B^T from S to C, a row x of the first set has the effect
    2 d.x + |x|^2 - x.A x, and a row y of the second -2 d.y + |y|^2 - y.A^-1 y, both centred on their means.
    """
    (mean, covariance), (reference_mean, reference_covariance) = fit(generated), fit(reference)
    vectors, scales = _eigenroot(reference_covariance)
    factor = vectors * scales
    turned, roots = _eigenroot(factor.T @ covariance @ factor)
    x, y = generated.double() - mean, reference.double() - reference_mean
    difference = mean - reference_mean
    forth = (x @ (factor @ (turned / roots.sqrt()))).square().sum(1)
    back = (y @ ((vectors / scales) @ (turned * roots.sqrt()))).square().sum(1)
    of_x = 2 * x @ difference + x.square().sum(1) - forth
    of_y = -2 * y @ difference + y.square().sum(1) - back
    return Influence(of_x, of_y)


def resampled_fd(
    generated: Sequence[Tensor], reference: Tensor, points: Sequence[float], draws: Draws
) -> tuple[Tensor, Tensor]:
    """Mean FD over the seeds in each resample, and its linear part: values [N,D] per seed, [M,D] -> [R], [R].

    `points` are the distances of each seed.
    """
    device, replicates = reference.device, []
    for seeds, counts, of_reference in zip(draws.seeds.tolist(), draws.generated, draws.reference, strict=True):
        distance = FrechetDistance(fit(reference, of_reference.to(device)))
        fits = [fit(generated[s], row[: draws.sizes[s]].to(device)) for s, row in zip(seeds, counts, strict=True)]
        replicates.append(torch.stack([distance(gaussian) for gaussian in fits]).mean())
    influences = [influence(values, reference) for values in generated]
    return torch.stack(replicates).cpu(), linear_part(points, influences, draws)
