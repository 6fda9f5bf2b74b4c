"""Precision, recall, density and coverage: known answers, torch-fidelity's values, and blocks that change nothing."""

import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from replication.metrics import manifold as module
from replication.metrics.manifold import Manifold, manifold, nearest_distances, own_radii
from replication.types import InputError


def gaussian(n: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def covered(generated: torch.Tensor, real: torch.Tensor) -> Manifold:
    return manifold(generated, *own_radii([generated]), real)


def means(found: Manifold) -> dict[str, float]:
    return {name: each.mean().item() for name, each in found._asdict().items()}


def test_on_a_line_by_hand() -> None:
    """Real images at 0 to 9, generated ones at 4.5 (six times, near each other) and at 100.

    Which balls hold which images is worked out below by hand. Catches: generated and real exchanged, the image itself
    counted as its own neighbour for density, density not divided by k, a ball of the outlier that is forgotten.
    """
    real = torch.arange(10.0)[:, None]
    generated = torch.tensor([4.5, 4.5001, 4.5002, 4.5003, 4.5004, 4.5005, 100.0])[:, None]
    found = covered(generated, real)
    # k = 3 radii of real images: 3 at the ends, 2 elsewhere; 4.5 lies in the balls of 3, 4, 5, 6
    assert found.precision.tolist() == [True] * 6 + [False]
    # k = 3 radii of the cluster are 0.0005 at most, but the outlier's ball reaches back to its third neighbour
    assert found.recall.tolist() == [False] * 5 + [True] * 5
    # k = 5 radii: 5, 4, 3, 3, 3, 3, 3, 3, 4, 5; open balls that hold 4.5: of 0 (4.5 < 5), of 1 (3.5 < 4), 2 to 7, 8, 9
    assert found.density.tolist() == [10 / 5] * 6 + [0.0]
    assert found.coverage.tolist() == [True] * 10
    assert means(found) == pytest.approx({"precision": 6 / 7, "recall": 0.5, "density": 12 / 7, "coverage": 1.0})


def test_copies_and_strangers() -> None:
    """The real set itself: all four are 1 exactly (70 images: open balls hold the image and four neighbours). A far
    cluster: all are 0. Half of the modes: precision stays 1, coverage and recall fall to one half.

    Catches: closed balls for density (1.2 for the copy), recall that measures precision, hits of the last block only.
    """
    real = gaussian(70, 8, 1)
    assert means(covered(real.clone(), real)) == {"precision": 1, "recall": 1, "density": 1, "coverage": 1}
    assert set(means(covered(real + 1000, real)).values()) == {0.0}
    modes = torch.cat([gaussian(50, 8, 2), gaussian(50, 8, 3) + 100])
    dropped = means(covered(modes[:50].clone(), modes))
    # a copy is its neighbour's neighbour at the radius itself: rounding says on which side, hence the tolerance
    assert dropped == pytest.approx({"precision": 1, "recall": 0.5, "density": 1, "coverage": 0.5}, abs=0.03)


@pytest.mark.parametrize(("n", "m", "block"), [(300, 250, 4096), (300, 250, 64), (90, 400, 7)])
def test_agrees_with_torch_fidelity(n: int, m: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Precision and recall are torch-fidelity's hit for hit (1e-6: it averages in float32), whatever the block; density
    and coverage are those of a full float64 matrix. Catches: radii per block instead of over all, an uneven last
    block lost."""
    monkeypatch.setattr(module, "BLOCK", block)
    generated, real = 0.8 * gaussian(n, 16, 1) + 0.3, gaussian(m, 16, 2)
    found = covered(generated, real)
    theirs = prc_features_to_metric(
        generated, real, prc_neighborhood=3, prc_batch_size=100, save_cpu_ram=True, verbose=False
    )
    metrics = means(found)
    assert metrics["precision"] == pytest.approx(theirs["precision"], abs=1e-6)
    assert metrics["recall"] == pytest.approx(theirs["recall"], abs=1e-6)
    assert 0.2 < metrics["recall"] < metrics["precision"] < 1
    across = (generated.double()[:, None] - real.double()).norm(dim=2)
    radii = (real.double()[:, None] - real.double()).norm(dim=2).sort(1).values[:, 5]
    assert found.density.equal((across < radii).sum(1).double() / 5)
    assert found.coverage.equal((across < radii).any(0).double())


def test_nearest_distances_cross_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest distances over all blocks, ascending, max-abs 1e-5. Catches: the nearest of the last block alone."""
    monkeypatch.setattr(module, "BLOCK", 16)
    a, b = gaussian(40, 4, 1), gaussian(50, 4, 2)
    full = (a.double()[:, None] - b.double()).norm(dim=2).sort(1).values[:, :3]
    assert (nearest_distances(a, b, 3) - full).abs().max().item() < 1e-5


def test_too_few_images_are_refused() -> None:
    """Five images have no fifth neighbour. Catches: an index error, or the infinity that stands for a missing one."""
    with pytest.raises(InputError, match="5 reference images; density needs more than 5"):
        covered(gaussian(20, 4, 1), gaussian(5, 4, 2))
