"""A dataset of CIFAR-10's shape with 60 random examples, and a data folder of its own for every test."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dataset_copies import Examples, expected_fingerprint
from range_server import Server, serving

from replication.datasets.archived import Archived
from replication.download import Remote
from replication.registry import DATASETS


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`$REPLICATION_DATA`, not yet made; local addresses are reached without a proxy. Removed after the test."""
    monkeypatch.setenv("REPLICATION_DATA", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield tmp_path / "home"
    shutil.rmtree(tmp_path, ignore_errors=True)  # all of CIFAR-10 is too much for pytest's habit of keeping three runs


@pytest.fixture
def examples() -> Examples:
    """Random images, except: one example twice, one image under two labels, two images that differ in the last byte."""
    rng = np.random.default_rng(0)

    def draw(n: int) -> list[tuple[int, np.ndarray]]:
        return [(int(rng.integers(10)), rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(n)]

    train = draw(46)
    label, image = train[7]
    almost = image.copy()
    almost[-1, -1, -1] ^= 0x80
    return {"train": [*train, (label, image), ((label + 1) % 10, image), (label, almost), train[9]], "test": draw(10)}


@pytest.fixture
def tiny(examples: Examples) -> Archived:
    """CIFAR-10's class with other expected content; its remote address answers nothing."""
    return dataclasses.replace(
        DATASETS.build("cifar10"),
        name="tiny",
        sizes={split: len(pairs) for split, pairs in examples.items()},
        fingerprints={split: expected_fingerprint(pairs) for split, pairs in examples.items()},
        remote=Remote("http://127.0.0.1:9/tiny.tar.gz", "0" * 64, 1),
    )


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(np.random.default_rng(1).bytes(1_000_000)) as running:
        yield running


@pytest.fixture
def real_copy() -> Path:
    """CIFAR-10 as parquet shards, where the checkout has it beside it."""
    folder = Path(__file__).parents[2] / "../shared/data/cifar10"
    if not any(folder.glob("*.parquet")):
        pytest.skip("no copy of CIFAR-10 in ../shared/data/cifar10")
    return folder.resolve()
