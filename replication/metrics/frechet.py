"""Fréchet distance between Gaussians fitted to features, made for repeated evaluation against one reference.

    FD(m, S; mu, C) = |m - mu|^2 + tr S + tr C - 2 tr (C^1/2 S C^1/2)^1/2    (Dowson & Landau 1982; Heusel et al. 2017)

The matrix under the root is symmetric and positive semi-definite, so its eigenvalues come from a symmetric
eigenproblem: real, stable, and right where S or C is singular (fewer images than features). C^1/2 is taken once.
The figure that is printed comes from torch-fidelity (fidelity.py); this one serves the resampling.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Gaussian(NamedTuple):
    """Mean [D] and covariance [D,D], float64."""

    mean: Tensor
    covariance: Tensor


def fit(values: Tensor, counts: Tensor | None = None) -> Gaussian:
    """Mean and covariance (divisor N - 1) of values [N,D], in which row i is taken counts[i] times (default: once)."""
    values = values.double()
    weights = torch.ones(len(values), dtype=values.dtype, device=values.device) if counts is None else counts
    n = weights.sum()
    mean = weights @ values / n
    centred = values - mean
    return Gaussian(mean, (weights[:, None] * centred).T @ centred / (n - 1))


class FrechetDistance:
    """Distance to a fixed reference Gaussian; its square root is computed when this is built."""

    def __init__(self, reference: Gaussian):
        self.reference = reference
        eigenvalues, vectors = torch.linalg.eigh(reference.covariance)
        self._root = (vectors * eigenvalues.clamp(min=0).sqrt()) @ vectors.T  # C^1/2: [D,D]

    def __call__(self, generated: Gaussian) -> Tensor:
        """The distance, float64 scalar []."""
        product = torch.linalg.eigvalsh(self._root @ generated.covariance @ self._root)
        difference = generated.mean - self.reference.mean
        traces = generated.covariance.trace() + self.reference.covariance.trace()
        return difference @ difference + traces - 2 * product.clamp(min=0).sqrt().sum()


def resampled_fd(values: Tensor, distance: FrechetDistance, counts: Tensor) -> Tensor:
    """Distance of each resample of values [N,D]: row r of counts [R,N] says how often each image is taken -> [R]."""
    return torch.stack([distance(fit(values, row)) for row in counts])
