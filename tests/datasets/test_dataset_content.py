"""Canonical order and fingerprints: the same content gives the same tensors, whatever its order was."""

import numpy as np
import pytest
import torch
from dataset_copies import Examples, expected_fingerprint

from replication.datasets.dataset import Split
from replication.registry import DATASETS
from replication.types import InputError


def split_of(pairs: list[tuple[int, np.ndarray]]) -> Split:
    return Split.of(np.stack([image for _, image in pairs]), np.array([label for label, _ in pairs]))


def test_tensors_are_the_sorted_records(examples: Examples) -> None:
    """Max-abs 0 against Python's own sort of bytes. Catches: sorting by label alone, CHW records, signed bytes."""
    pairs = sorted(examples["train"], key=lambda pair: bytes([pair[0]]) + pair[1].tobytes())
    split = split_of(examples["train"])
    assert split.images.shape == (50, 3, 32, 32)
    assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
    assert split.labels.tolist() == [label for label, _ in pairs]
    assert np.array_equal(split.images.permute(0, 2, 3, 1).numpy(), np.stack([image for _, image in pairs]))
    assert split.fingerprint == expected_fingerprint(examples["train"])


def test_order_of_the_source_does_not_matter(examples: Examples) -> None:
    """Max-abs 0 after a shuffle, with duplicates among the examples. Catches: no sort, duplicates dropped."""
    pairs = examples["train"]
    shuffled = [pairs[i] for i in np.random.default_rng(2).permutation(len(pairs))]
    first, second = split_of(pairs), split_of(shuffled)
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.labels, second.labels)
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize("change", ["label", "last pixel", "a duplicate less"])
def test_every_byte_counts(examples: Examples, change: str) -> None:
    """Catches: a fingerprint without labels, of a prefix of each record, or of the set of distinct records."""
    pairs = list(examples["train"])
    before = split_of(pairs).fingerprint
    if change == "label":
        pairs[0] = ((pairs[0][0] + 1) % 10, pairs[0][1])
    elif change == "last pixel":
        pairs[0][1][-1, -1, -1] ^= 1
    else:
        pairs.pop()
    assert split_of(pairs).fingerprint != before


@pytest.mark.parametrize("name", DATASETS.names())
def test_every_dataset_describes_itself(name: str) -> None:
    """The contract of a registered dataset, met by a new file without a new test."""
    dataset = DATASETS.build(name)
    assert dataset.name == name
    assert set(dataset.sizes) == set(dataset.fingerprints) == {"train", "test"}
    assert all(len(bytes.fromhex(fingerprint)) == 32 for fingerprint in dataset.fingerprints.values())
    assert len(set(dataset.classes)) == len(dataset.classes)
    line = dataset.status()
    assert line.startswith(f"{name}: ")
    assert "\n" not in line


@pytest.mark.parametrize("name", DATASETS.names())
def test_unknown_split_names_the_nearest(name: str) -> None:
    with pytest.raises(InputError, match=f"unknown {name} split 'tset'; did you mean 'test'"):
        DATASETS.build(name).load("tset")


def test_a_label_that_needs_two_bytes_is_refused() -> None:
    """Catches labels that are taken modulo 256: 256 and 299 became 0 and 43."""
    with pytest.raises(InputError, match="label 299 does not fit"):
        Split.of(np.zeros((3, 2, 2, 1), np.uint8), np.array([0, 256, 299]))
