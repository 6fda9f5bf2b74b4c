"""ADM's precision and recall: its evaluator's rule written out, on as many real images as it takes."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from replication.metrics import Features, Material, evaluate
from replication.metrics import adm_manifold as module
from replication.metrics.adm_manifold import ADMPrecision
from replication.registry import EXTRACTORS

FEW = 40  # real images in the place of 10,000


def features(n: int, seed: int, shift: float = 0.0, name: str = "inception-v3-compat") -> Features:
    values = shift + torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    return Features(values, extractor=name)


def by_the_evaluator(generated: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """Squared distances, of which each image's own is the smallest, radii at index 3, and closed balls."""

    def squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ((a[:, None] - b) ** 2).sum(2)

    real_radii, generated_radii = (np.sort(squared(v, v), axis=1)[:, 3] for v in (real, generated))
    across = squared(generated, real)
    return (across <= real_radii).any(1).mean(), (across <= generated_radii[:, None]).any(0).mean()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IMAGES", FEW)


@pytest.mark.usefixtures("few")
def test_it_is_the_evaluators_on_images_taken_evenly() -> None:
    """Of two seeds against every fifth of 200 real images: the rule written out, and torch-fidelity's, max-abs 1e-6.

    Against all 200 both are another figure. Catches: the whole reference taken or its first images (they are another
    law's here), precision and recall exchanged, the image counted as its own neighbour.
    """
    real = features(200, 1)
    real.values[:40] += 5
    seeds = [features(120, seed, 1.0) for seed in (2, 3)]
    found = evaluate(Material(seeds, real, resamples=50)).columns
    part = real.values[::5]
    expected = [by_the_evaluator(s.values.double().numpy(), part.double().numpy()) for s in seeds]
    precision, recall = np.mean(expected, axis=0)
    assert (found["adm_precision"], found["adm_recall"]) == pytest.approx((precision, recall), abs=1e-6)
    theirs = [prc_features_to_metric(s.values, part, prc_neighborhood=3, verbose=False) for s in seeds]
    assert found["adm_precision"] == pytest.approx(np.mean([t["precision"] for t in theirs]), abs=1e-6)
    assert found["adm_recall"] == pytest.approx(np.mean([t["recall"] for t in theirs]), abs=1e-6)
    assert abs(found["adm_precision"] - found["precision"]) > 0.02
    assert abs(found["adm_recall"] - found["recall"]) > 0.02


@pytest.mark.usefixtures("few")
def test_the_errors_are_those_of_the_images_that_count() -> None:
    """A share p of 40 real images scatters by (p (1 - p) / 40)^1/2, within a fifth; the reference has 400. Catches: an
    error of all 400 images, a third of it."""
    material = Material([features(200, 2, 0.5)], features(400, 1), resamples=400)
    row = evaluate(material).columns
    for name, n in (("adm_recall", FEW), ("adm_precision", 200)):
        assert 0.1 < row[name] < 0.99
        assert row[f"{name}_se"] == pytest.approx((row[name] * (1 - row[name]) / n) ** 0.5, rel=0.2)


@pytest.mark.parametrize(("n", "name"), [(FEW - 1, "inception-v3-compat"), (60, "digits-cnn"), (60, "")])
@pytest.mark.usefixtures("few")
def test_there_is_none_of_fewer_images_or_of_other_features(n: int, name: str) -> None:
    """Catches: a figure of a small reference under the evaluator's name, one of any features."""
    assert ADMPrecision.extractor in EXTRACTORS.names()
    found = evaluate(Material([features(30, 2, name=name)], features(n, 1, name=name), resamples=5))
    assert "precision" in found.columns
    assert not {"adm_precision", "adm_recall"} & found.columns.keys()


def test_it_takes_as_many_as_adm() -> None:
    """Catches: the figure of the tests left in the code."""
    assert module.IMAGES == 10_000
