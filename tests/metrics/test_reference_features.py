"""The cache of reference features: when it is used, when it is not, and what damage does."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from replication.metrics import Features, reference_features
from replication.metrics.extractor import Extractor
from replication.types import RunError


class Counting(Extractor):
    """Pixel sums as features; says how often it ran."""

    name, family, layers, sha256 = "counting", "counting", ("values", "logits"), "0" * 64
    runs = 0

    def _load(self) -> torch.nn.Module:
        self.runs += 1

        class Sums(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                return x.float().sum((1, 2)), x.float().sum((1, 3))

        return Sums()


IMAGES = torch.arange(2 * 16, dtype=torch.uint8).reshape(2, 1, 4, 4)


def look_up(folder: Path, images: torch.Tensor = IMAGES, **changes: Any) -> tuple[Features, int]:
    """The features, and 1 where they had to be computed."""
    extractor = Counting()
    for key in changes.keys() & {"version", "sha256", "name"}:
        setattr(extractor, key, changes.pop(key))
    features = reference_features(images, extractor, folder, **({"fingerprint": "f"} | changes))
    return features, extractor.runs


def test_computed_once(tmp_path: Path) -> None:
    """The second look-up reads the same tensors from the one file. Catches: a cache never hit, features transposed."""
    (first, ran), (second, ran_again) = look_up(tmp_path), look_up(tmp_path)
    assert (ran, ran_again) == (1, 0)
    assert first.values.equal(second.values)
    assert first.logits is not None
    assert second.logits is not None
    assert first.logits.equal(second.logits)
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


@pytest.mark.parametrize("key", ["fingerprint", "preprocessing", "version", "sha256", "name"])
def test_every_part_of_the_identity_counts(tmp_path: Path, key: str) -> None:
    """Another dataset, preprocessing, extractor, version or weights is another entry. Catches: a key left out."""
    look_up(tmp_path)
    assert look_up(tmp_path, IMAGES, **{key: "other"})[1] == 1
    assert look_up(tmp_path)[1] == 0


def test_other_resolution_or_number_is_another_entry(tmp_path: Path) -> None:
    """Resolution and number of images are part of the key. Catches: statistics of 32 px served for 64 px."""
    look_up(tmp_path)
    assert look_up(tmp_path, images=IMAGES[:, :, :2, :2])[1] == 1
    assert look_up(tmp_path, images=IMAGES[:1])[1] == 1


@pytest.mark.parametrize("damage", ["truncated", "bit", "foreign"])
def test_damage_is_noticed_and_repaired(tmp_path: Path, damage: str) -> None:
    """A truncated file, one flipped bit, another entry's file under this name: a warning, and the right features again.

    Catches: metadata not compared, the content's hash not checked (safetensors alone accepts a flipped bit).
    """
    right, _ = look_up(tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[:-3])
    elif damage == "bit":
        content[-1] ^= 4
        path.write_bytes(content)
    else:
        look_up(tmp_path, fingerprint="other")
        (foreign,) = set(tmp_path.iterdir()) - {path}
        foreign.replace(path)
    with pytest.warns(UserWarning, match=f"{path}: .*; they are computed anew"):
        repaired, ran = look_up(tmp_path)
    assert ran == 1
    assert repaired.values.equal(right.values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert look_up(tmp_path)[1] == 0


def test_unwritable_folder_is_one_message(tmp_path: Path) -> None:
    """A file where the folder should be: RunError naming it. Catches: a bare OSError reaching the user."""
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=f"cannot write {tmp_path / 'file'}"):
        look_up(tmp_path / "file" / "sub")
