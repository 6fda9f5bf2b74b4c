"""gaussian: independent pixels of the distribution it states, the same everywhere."""

import dataclasses

import pytest
import torch

from replication.datasets.small import MEAN, STD
from replication.registry import DATASETS
from replication.types import InputError


@pytest.mark.parametrize("split", ["train", "test"])
def test_pixels_have_the_stated_moments(split: str) -> None:
    """Within 4 standard errors of the mean, variance, 4th moment and correlation. Catches [0, 1] scaling and truncation.

    Truncating instead of rounding shifts the mean by 1/255, which is 13 standard errors of the train split.
    """
    dataset = DATASETS.build("gaussian")
    images = dataset.load(split).images
    assert images.shape == (dataset.sizes[split], 1, 8, 8)
    x = (images.flatten(1).double() / 127.5 - 1 - MEAN) / STD
    n = x.numel()
    assert abs(float(x.mean())) <= 4 / n**0.5
    assert abs(float(x.square().mean()) - 1) <= 4 * (2 / n) ** 0.5
    assert abs(float(x.pow(4).mean()) - 3) <= 4 * (96 / n) ** 0.5
    correlation = torch.corrcoef(x.T) - torch.eye(64)
    assert correlation.abs().max() <= 5 / len(x) ** 0.5  # the largest of 2016


def test_splits_are_what_they_were_and_share_nothing() -> None:
    """Catches another seed, another order of draws, and a test split that is part of train."""
    dataset = DATASETS.build("gaussian")
    assert dataset.verify() == dataset.fingerprints
    train, test = (dataset.load(split).images.flatten(1).tolist() for split in ("train", "test"))
    assert not {tuple(i) for i in train} & {tuple(i) for i in test}
    other = dataclasses.replace(dataset, fingerprints=dataset.fingerprints | {"test": "0" * 64})
    with pytest.raises(InputError, match=r"versions here give other images.*gaussian test must be 1,024"):
        other.load("test")


def test_add_is_refused() -> None:
    with pytest.raises(InputError, match="is computed: there is nothing to add"):
        DATASETS.build("gaussian").add("somewhere")
