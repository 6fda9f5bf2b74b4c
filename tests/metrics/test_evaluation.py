"""A row's figures against torch-fidelity run on the images themselves, and how seeds are joined."""

from collections.abc import Sequence

import pytest
import torch
import torch_fidelity
from torch.utils.data import Dataset

from replication.metrics import Features, Material
from replication.metrics.metric import LEAST_IMAGES, Row
from replication.metrics.metric import evaluate as columns_of
from replication.metrics.mmd import SUBSETS
from replication.registry import DATASETS, EXTRACTORS
from replication.types import InputError


def evaluate(generated: Sequence[Features], reference: Features, resamples: int = 200) -> Row:
    return columns_of(Material(generated, reference, resamples=resamples)).columns


class Images(Dataset[torch.Tensor]):
    def __init__(self, images: torch.Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


@pytest.fixture(scope="module")
def real() -> torch.Tensor:
    return DATASETS.build("digits").load("train").images[:400]


def noisy(images: torch.Tensor, seed: int, amount: float = 40.0) -> torch.Tensor:
    noise = amount * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return (images.float() + noise).clamp(0, 255).round().to(torch.uint8)


def test_equals_torch_fidelity_on_the_images(real: torch.Tensor, plugged_in: None) -> None:
    """Every point value is what torch-fidelity computes from the images with the same extractor, 1e-6 relative; KID,
    whose kernels it computes in float32, to 1e-6 absolute.

    Catches: feature layers swapped (values for logits), generated and reference exchanged (precision against recall).
    """
    generated = noisy(real[:350], seed=1)
    extractor = EXTRACTORS.build("digits-cnn")
    row = evaluate([extractor(generated, batch_size=64)], extractor(real, batch_size=64), resamples=10)
    theirs = torch_fidelity.calculate_metrics(
        **{"input1": Images(generated), "input2": Images(real), "feature_extractor": "digits-cnn", "batch_size": 64},
        **{"fid": True, "kid": True, "isc": True, "prc": True, "kid_subset_size": 350},
        **{"cuda": False, "cache": False, "verbose": False, "save_cpu_ram": True},
    )
    pairs = {
        "fd": torch_fidelity.KEY_METRIC_FID,
        "is": torch_fidelity.KEY_METRIC_ISC_MEAN,
        "is_std": torch_fidelity.KEY_METRIC_ISC_STD,
        "precision": torch_fidelity.KEY_METRIC_PRECISION,
        "recall": torch_fidelity.KEY_METRIC_RECALL,
    }
    assert {key: row[key] for key in pairs} == pytest.approx({k: theirs[v] for k, v in pairs.items()}, rel=1e-6)
    assert row["precision"] != row["recall"]  # else an exchange would go unseen
    assert row["kid"] == pytest.approx(theirs[torch_fidelity.KEY_METRIC_KID_MEAN], abs=1e-6)
    assert row["kid_std"] == pytest.approx(theirs[torch_fidelity.KEY_METRIC_KID_STD], abs=1e-6)


def test_worse_images_have_a_larger_distance(real: torch.Tensor) -> None:
    """FD and KID grow, and their intervals separate, from slight to heavy noise. Catches: an extractor blind to its
    input, an interval laid around something else than the point."""
    extractor = EXTRACTORS.build("digits-cnn")
    reference = extractor(real[:200])
    slight, heavy = (evaluate([extractor(noisy(real[:200], 1, amount))], reference) for amount in (15.0, 90.0))
    for key in ("fd", "kid"):
        assert slight[f"{key}_low"] <= slight[key] <= slight[f"{key}_high"] < heavy[f"{key}_low"] <= heavy[key]


def test_seeds_are_averaged(real: torch.Tensor) -> None:
    """With two seeds each point is the mean of the two single rows (1e-9 relative), fd_min and fd_max are theirs and
    fd_std is their spread (divisor S - 1), which a single seed does not have. Catches: features of all seeds pooled into
    one set, the minimum reported as the point."""
    extractor = EXTRACTORS.build("digits-cnn")
    reference = extractor(real[:200])
    seeds = [extractor(noisy(real[:80], seed)) for seed in (1, 2)]
    one, two = (evaluate([features], reference, resamples=20) for features in seeds)
    both = evaluate(seeds, reference, resamples=20)
    for key in ("fd", "kid", "is", "precision", "recall", "density", "coverage"):
        assert both[key] == pytest.approx((one[key] + two[key]) / 2, rel=1e-9)
    assert (both["fd_min"], both["fd_max"]) == (min(one["fd"], two["fd"]), max(one["fd"], two["fd"]))
    assert both["fd_std"] == pytest.approx(abs(one["fd"] - two["fd"]) / 2**0.5, rel=1e-9)
    assert "fd_std" not in one
    assert both == evaluate(seeds, reference, resamples=20)


def test_intervals_have_the_size_of_the_noise(real: torch.Tensor) -> None:
    """Twelve rows with disjoint generated images and disjoint reference images: the standard errors they state are
    within a factor 2 of the scatter of their points, for each metric but density, coverage and recall, whose intervals
    leave a part out. Catches: the reference taken as fixed, the scatter of subsets taken for KID's error (10
    times), seeds' errors not divided."""
    features = EXTRACTORS.build("digits-cnn")(DATASETS.build("digits").load("train").images)
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
    parts = [Features(features.values[p], features.logits[p]) for p in order[: 24 * 55].split(55)]
    moved = [Features(1.2 * part.values + 0.1, part.logits) for part in parts[:12]]
    rows = [evaluate([g], r, resamples=60) for g, r in zip(moved, parts[12:], strict=True)]
    for key in ("fd", "kid", "is", "precision"):
        scatter = torch.tensor([row[key] for row in rows]).std().item()
        stated = sum(row[f"{key}_se"] for row in rows) / len(rows)
        assert 0.5 < stated / scatter < 2, key
        assert all(row[f"{key}_low"] <= row[key] <= row[f"{key}_high"] for row in rows)


def test_kid_error_includes_its_subsets(real: torch.Tensor) -> None:
    """The variance of the error is at least that of averaging over the subsets, which is most of it where subsets are a
    small part of the images. Catches: the noise left out, the scatter itself taken for the error."""
    values = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)) + 1
    row = evaluate([Features(values)], Features(torch.randn(12, 4)), resamples=50)
    assert row["kid_se"] > 0.8 * row["kid_std"] / SUBSETS**0.5


def test_absent_parts_leave_their_metrics_out() -> None:
    """Features without logits have no inception score, with a spatial part they have sFD, equal to the FD of that part
    (1e-9 relative). Catches: a crash on None, sFD of the pooled values."""
    generated, reference = (
        Features(torch.randn(30, 4, generator=generator), None, torch.randn(30, 6, generator=generator))
        for generator in (torch.Generator().manual_seed(seed) for seed in (1, 2))
    )
    row = evaluate([generated], reference, resamples=10)
    assert not [key for key in row if key.startswith("is")]
    alone = evaluate([Features(generated.spatial)], Features(reference.spatial), resamples=10)
    assert row["sfd"] == pytest.approx(alone["fd"], rel=1e-9)
    assert (row["sfd_low"], row["sfd_high"]) == pytest.approx((alone["fd_low"], alone["fd_high"]), rel=1e-9)


def test_unusable_features_are_refused() -> None:
    """No seeds, too few images, another width: InputError that says which set. Catches: an index error or a NaN
    instead."""
    enough = Features(torch.randn(20, 4), torch.randn(20, 3))
    with pytest.raises(InputError, match="no generated images"):
        evaluate([], enough)
    with pytest.raises(InputError, match=rf"seed 1 .* has {LEAST_IMAGES - 1} images, at least {LEAST_IMAGES}"):
        evaluate([enough, Features(torch.randn(LEAST_IMAGES - 1, 4), torch.randn(LEAST_IMAGES - 1, 3))], enough)
    with pytest.raises(InputError, match="another extractor"):
        evaluate([Features(torch.randn(20, 5), torch.randn(20, 3))], enough)
    with pytest.raises(InputError, match="agree in N"):
        Features(torch.randn(20, 5), torch.randn(19, 3))


def test_fd_infinity_takes_enough_images_for_its_features() -> None:
    """Catches: an extrapolation from where FD is no straight line, which no interval covers."""
    generator = torch.Generator().manual_seed(0)
    sets = {n: Features(torch.randn(n, 8, generator=generator)) for n in (79, 80)}
    assert "fd_infinity" not in evaluate([sets[79]], sets[80], resamples=4)
    assert "fd_infinity" not in evaluate([sets[80]], sets[79], resamples=4)
    assert "fd_infinity" in evaluate([sets[80]], sets[80], resamples=4)
