"""CIFAR-10 itself, where the checkout has a copy beside it."""

from pathlib import Path

import numpy as np
from dataset_copies import write_archive

from replication.registry import DATASETS


def test_whole_cifar10_by_two_routes(real_copy: Path, tmp_path: Path) -> None:
    """Parquet and the binary archive give the published fingerprints and the same files, byte for byte.

    Catches: a lossy decode, swapped channels, another order.
    """
    cifar10 = DATASETS.build("cifar10")
    cifar10.add(real_copy)
    splits = {split: cifar10.load(split) for split in cifar10.fingerprints}
    assert {split: content.fingerprint for split, content in splits.items()} == cifar10.fingerprints
    assert splits["train"].images.shape == (50_000, 3, 32, 32)
    assert splits["test"].labels.bincount().tolist() == [1000] * 10
    before = {split: cifar10.file(split).read_bytes() for split in splits}

    rng = np.random.default_rng(0)
    shuffled = {
        split: [(int(content.labels[i]), content.images[i].permute(1, 2, 0).numpy()) for i in rng.permutation(n)]
        for split, content in splits.items()
        if (n := len(content.labels))
    }
    cifar10.file("test").unlink()
    cifar10.file("train").unlink()
    cifar10.add(write_archive(tmp_path / "copy.tar.gz", shuffled))
    assert {split: cifar10.file(split).read_bytes() for split in splits} == before
