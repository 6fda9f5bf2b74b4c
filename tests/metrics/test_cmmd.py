"""CMMD: the published formula written out, its bias, its interval, and the one network that it is of."""

import numpy as np
import pytest
import torch

from replication.metrics import Features, Material, evaluate
from replication.metrics.mmd import CMMD
from replication.registry import EXTRACTORS

NAME = "clip-vit-l-14-336"


def embeddings(n: int, seed: int, shift: float = 0.0) -> Features:
    values = torch.randn(n, 12, generator=torch.Generator().manual_seed(seed)) + 1 + shift * torch.eye(12)[0]
    return Features(3 * values, extractor=NAME)  # of any length


def by_definition(x: torch.Tensor, y: torch.Tensor) -> float:
    """1,000 times the squared MMD over all pairs of rows, each divided by its length, in NumPy."""
    a, b = (v.double().numpy() / np.linalg.norm(v.double().numpy(), axis=1, keepdims=True) for v in (x, y))

    def kernel(p: np.ndarray, q: np.ndarray) -> float:
        return float(np.exp(-((p[:, None] - q) ** 2).sum(2) / (2 * 10**2)).mean())

    return 1000 * (kernel(a, a) + kernel(b, b) - 2 * kernel(a, b))


def test_it_is_the_published_estimator() -> None:
    """Two seeds of unequal size against the definition, relative 1e-9; a set against itself gives 0, max-abs 1e-10.

    Catches: pairs of an image with itself left out (a third less here), rows that are not normalised, sigma not squared,
    the factor of 1,000 forgotten, the seeds' images joined.
    """
    seeds, reference = [embeddings(40, 1, 0.5), embeddings(30, 2, 0.5)], embeddings(50, 3)
    found = evaluate(Material(seeds, reference, resamples=20)).columns
    expected = [by_definition(s.values, reference.values) for s in seeds]
    assert found["cmmd"] == pytest.approx(sum(expected) / 2, rel=1e-9)
    assert found["cmmd"] > 0.1
    same = evaluate(Material([reference], reference, resamples=20)).columns
    assert abs(same["cmmd"]) < 1e-10
    assert same["cmmd_low"] >= 0


def test_its_interval_is_the_scatter_of_sets_of_that_size() -> None:
    """Over 60 pairs of fresh sets of 60 and 50 images the mean standard error is 0.75 to 1.35 times the scatter. Catches:
    an interval that is not scaled, the reference taken as fixed (0.7), a variance taken for a deviation."""
    rows = [evaluate(Material([embeddings(60, s, 0.6)], embeddings(50, s + 500), resamples=60)) for s in range(60)]
    scatter = float(np.std([row.columns["cmmd"] for row in rows]))
    error = float(np.mean([row.columns["cmmd_se"] for row in rows]))
    assert 0.75 * scatter < error < 1.35 * scatter


@pytest.mark.parametrize("other", ["", "clip-vit-b-32", "dinov2-vit-l-14"])
def test_other_features_have_none(other: str) -> None:
    """The extractor exists, and features of another one, or of none, have no CMMD. Catches: a figure of any features."""
    assert CMMD.extractor in EXTRACTORS.names()
    sets = [Features(embeddings(20, seed).values, extractor=other) for seed in (1, 2)]
    found = evaluate(Material(sets[:1], sets[1], resamples=5))
    assert "kid" in found.columns
    assert "cmmd" not in found.columns | found.replicates
