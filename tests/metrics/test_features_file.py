"""Features on disk: what comes back, and what is refused with which reason."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from replication.metrics import Features
from replication.metrics.features_file import Identity, load_features, of_extractor, save_features
from replication.registry import EXTRACTORS
from replication.types import InputError, RunError

FEATURES = Features(torch.arange(12.0).reshape(6, 2), spatial=torch.ones(6, 3))
EXTRACTOR = EXTRACTORS.build("digits-cnn")
REST: dict[str, Any] = {"dataset": "f" * 64, "preprocessing": "none", "n": 6, "resolution": (1, 8, 8)}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "features.safetensors"
    save_features(path, FEATURES, Identity(**of_extractor(EXTRACTOR), **REST))
    return path


def test_round_trip(saved: Path) -> None:
    """Every part that there is comes back bit for bit, one that there is not stays None. Catches: parts exchanged,
    an absent part read as zeros."""
    found = load_features(saved, EXTRACTOR, **REST)
    assert found.logits is None
    assert found.parts().keys() == {"values", "spatial"}
    assert all(part.equal(FEATURES.parts()[name]) for name, part in found.parts().items())
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"dataset": "e" * 64}, f"its dataset is {'f' * 64}, wanted {'e' * 64}"),
        ({"n": 7}, "its n is 6, wanted 7"),
        ({"resolution": (3, 8, 8)}, r"its resolution is \(1, 8, 8\), wanted \(3, 8, 8\)"),
        ({"preprocessing": "resize"}, "its preprocessing is none, wanted resize"),
    ],
)
def test_other_features_are_refused(saved: Path, expected: dict[str, Any], message: str) -> None:
    """Another dataset, number, resolution or preprocessing than is wanted, each said with both values. Catches: a key
    that is not compared."""
    with pytest.raises(InputError, match=f"{saved}: {message}"):
        load_features(saved, EXTRACTOR, **expected)


@pytest.mark.parametrize("key", ["name", "version", "sha256", "layers"])
def test_another_extractor_is_refused(saved: Path, key: str) -> None:
    """Its name, version, weights or layers differ. Catches: weights trained anew behind the same name."""
    other = type("Other", (type(EXTRACTOR),), {key: ("values",) if key == "layers" else "other"})()
    with pytest.raises(InputError, match=f"{saved}: its .* wanted"):
        load_features(saved, other)


def damaged(path: Path, how: str) -> None:
    content, tensors = bytearray(path.read_bytes()), load_file(path)
    metadata = {"identity": Identity(**of_extractor(EXTRACTOR), **REST).canonical(), "content": "0" * 64}
    if how == "absent":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(content[:-5])
    elif how == "bit":
        content[-1] ^= 1
        path.write_bytes(content)
    elif how == "dtype":
        save_file({name: tensor.half() for name, tensor in tensors.items()}, path, metadata)
    elif how == "rows":
        save_file({name: tensor[:5].clone() for name, tensor in tensors.items()}, path, metadata)
    elif how == "uneven":
        save_file({**tensors, "spatial": torch.zeros(4, 3)}, path, metadata)
    elif how == "values":
        save_file({"spatial": tensors["spatial"]}, path, metadata)
    elif how == "identity":
        save_file(tensors, path, {**metadata, "identity": '{"n": "six"}'})
    elif how == "foreign":
        save_file(tensors, path)
    else:
        path.write_text("not a features file")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("absent", "No such file"),
        ("truncated", "incomplete|invalid|too small|not fully covered"),
        ("bit", "its content does not match its own SHA-256"),
        ("dtype", "torch.float16, expected float32"),
        ("rows", "it holds 5 images, but says 6"),
        ("uneven", "agree in N"),
        ("values", "it holds no values"),
        ("identity", "its identity is not one"),
        ("foreign", "it does not say what it was made from"),
        ("text", "header"),
    ],
)
def test_damaged_files_are_refused(saved: Path, how: str, reason: str) -> None:
    """One InputError with the file and the reason. Catches: a traceback of the library, features read past the end, a
    flipped bit (which safetensors does not notice)."""
    damaged(saved, how)
    with pytest.raises(InputError, match=rf"features file {saved}: (?i:.*{reason})"):
        load_features(saved, EXTRACTOR)


def test_unwritable_place_is_one_message(tmp_path: Path) -> None:
    """A file where the folder should be: RunError. Catches: a bare OSError, or the library's own."""
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write"):
        save_features(tmp_path / "file" / "x.safetensors", FEATURES, Identity(**of_extractor(EXTRACTOR), **REST))
