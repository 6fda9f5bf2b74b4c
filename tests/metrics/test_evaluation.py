"""A row's figures against torch-fidelity run on the images themselves, and how seeds are joined."""

import pytest
import torch
import torch_fidelity
from torch.utils.data import Dataset

from replication.metrics import Features, evaluate
from replication.metrics.evaluation import LEAST_IMAGES, _subset_noise
from replication.registry import DATASETS, EXTRACTORS
from replication.types import InputError


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


def test_equals_torch_fidelity_on_the_images(real: torch.Tensor) -> None:
    """Every point value is what torch-fidelity computes from the images with the same extractor, 1e-6 relative.

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
        "kid": torch_fidelity.KEY_METRIC_KID_MEAN,
        "kid_std": torch_fidelity.KEY_METRIC_KID_STD,
        "is": torch_fidelity.KEY_METRIC_ISC_MEAN,
        "is_std": torch_fidelity.KEY_METRIC_ISC_STD,
        "precision": torch_fidelity.KEY_METRIC_PRECISION,
        "recall": torch_fidelity.KEY_METRIC_RECALL,
    }
    assert {key: row[key] for key in pairs} == pytest.approx({k: theirs[v] for k, v in pairs.items()}, rel=1e-6)
    assert row["precision"] != row["recall"]  # else an exchange would go unseen


def test_worse_images_have_a_larger_distance(real: torch.Tensor) -> None:
    """FD and KID grow, and their intervals separate, from slight to heavy noise. Catches: an extractor blind to its
    input, an interval laid around something else than the point."""
    extractor = EXTRACTORS.build("digits-cnn")
    reference = extractor(real[:200])
    slight, heavy = (evaluate([extractor(noisy(real[:200], 1, amount))], reference) for amount in (15.0, 90.0))
    for key in ("fd", "kid"):
        assert slight[f"{key}_low"] <= slight[key] <= slight[f"{key}_high"] < heavy[f"{key}_low"] <= heavy[key]


def test_seeds_are_averaged(real: torch.Tensor) -> None:
    """With two seeds each point is the mean of the two single rows (1e-9 relative) and fd_min, fd_max are theirs.
    Catches: features of all seeds pooled into one set, the minimum reported as the point."""
    extractor = EXTRACTORS.build("digits-cnn")
    reference = extractor(real[:200])
    seeds = [extractor(noisy(real[:80], seed)) for seed in (1, 2)]
    one, two = (evaluate([features], reference, resamples=20) for features in seeds)
    both = evaluate(seeds, reference, resamples=20)
    for key in ("fd", "kid", "is", "precision", "recall"):
        assert both[key] == pytest.approx((one[key] + two[key]) / 2, rel=1e-9)
    assert (both["fd_min"], both["fd_max"]) == (min(one["fd"], two["fd"]), max(one["fd"], two["fd"]))
    assert both == evaluate(seeds, reference, resamples=20)


def test_kid_error_includes_its_subsets() -> None:
    """A statistic that resampling cannot move still has the subsets' error: two seeds of scatter 3 and 4 over 100
    subsets give (9 + 16) / 100 / 4 as variance, 10 % tolerance. Catches: the scatter itself taken for the error (100
    times)."""
    assert _subset_noise([3.0, 4.0], 4000, seed=0).var().item() == pytest.approx(0.0625, rel=0.1)


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
