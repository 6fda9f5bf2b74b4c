"""digits: the published split is the one that is loaded."""

import dataclasses

import numpy as np
import pytest
from dataset_copies import expected_fingerprint
from sklearn.datasets import load_digits

from replication.registry import DATASETS
from replication.types import InputError


def test_split_is_every_fifth_by_content() -> None:
    """Max-abs 0 against the definition written out with Python's sort. Catches: index % 5 == 0, floor for round."""
    source = load_digits()
    pairs = [(int(label), np.array([[round(v * 255 / 16) for v in row] for row in image], np.uint8))
             for image, label in zip(source.images, source.target, strict=True)]  # fmt: skip
    pairs.sort(key=lambda pair: bytes([pair[0]]) + pair[1].tobytes())
    expected = {"test": pairs[4::5], "train": [pair for i, pair in enumerate(pairs) if i % 5 != 4]}
    digits = DATASETS.build("digits")
    for split, content in expected.items():
        loaded = digits.load(split)
        assert len(loaded.labels) == digits.sizes[split]
        assert np.array_equal(loaded.images.numpy()[:, 0], np.stack([image for _, image in content]))
        assert loaded.labels.tolist() == [label for label, _ in content]
        assert loaded.fingerprint == digits.fingerprints[split] == expected_fingerprint(content)


def test_images_are_upright_and_full_range() -> None:
    """Catches: images stored in [0,1] or [0,16], a transposed image (a mean digit is symmetric in neither sense)."""
    images = DATASETS.build("digits").load("train").images
    assert images.shape == (1438, 1, 8, 8)
    assert set(images.unique().tolist()) == {round(v * 255 / 16) for v in range(17)}
    mean = images[:, 0].double().mean(dim=0)
    assert mean[:, 0].max() < 1 < mean[0].max()  # the left column is blank in nearly all images, the top row is not


def test_verify_reads_again_and_compares() -> None:
    digits = DATASETS.build("digits")
    assert digits.verify() == digits.fingerprints
    other = dataclasses.replace(digits, fingerprints=digits.fingerprints | {"test": "0" * 64})
    with pytest.raises(
        InputError,
        match=r"embedded in scikit-learn, and the versions here give other images.*digits test must be 359 .* 0{64}, got 359",
    ):
        other.verify()


def test_add_is_refused() -> None:
    with pytest.raises(InputError, match="is embedded in scikit-learn: there is nothing to add"):
        DATASETS.build("digits").add("somewhere")
