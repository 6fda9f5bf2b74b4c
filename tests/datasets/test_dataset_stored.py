"""Stored splits: checked on every load, repaired by the command that the message names."""

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from dataset_copies import Examples, write_folder

from replication.datasets.archived import Archived
from replication.download import data_home
from replication.files import write_atomically
from replication.types import InputError, RunError


@pytest.fixture
def copy(tiny: Archived, examples: Examples, tmp_path: Path) -> Path:
    return write_folder(tmp_path / "copy", examples, tiny.classes)


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-2000] ^= 1
    file.write_bytes(data)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def other_key(file: Path) -> None:
    safetensors.torch.save_file({"pictures": torch.zeros(1)}, file)


def other_shape(file: Path) -> None:
    safetensors.torch.save_file({"images": torch.zeros(3), "labels": torch.zeros(2)}, file)


@pytest.mark.parametrize("spoil", [flip_a_bit, truncate, other_key, other_shape])
def test_corrupt_file_is_named_and_repaired(tiny: Archived, copy: Path, spoil: Callable[[Path], None]) -> None:
    """Catches: loading without the check; a repair that keeps the old file."""
    tiny.add(copy)
    spoil(tiny.file("train"))
    for read in (lambda: tiny.load("train"), tiny.verify):
        with pytest.raises(InputError, match=r"train\.safetensors is corrupt; .*`replicate data add tiny PATH`"):
            read()
    assert tiny.load("test").fingerprint == tiny.fingerprints["test"]
    tiny.add(copy)
    assert tiny.load("train").fingerprint == tiny.fingerprints["train"]


def test_verify_never_downloads(tiny: Archived) -> None:
    with pytest.raises(InputError, match="tiny is not here: downloaded on first use"):
        tiny.verify()


def test_unwritable_folder_is_named(
    tiny: Archived, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data folder lies below a plain file, where nobody can write, root included."""
    (tmp_path / "plain").write_text("")
    monkeypatch.setenv("REPLICATION_DATA", str(tmp_path / "plain"))
    for act in (lambda: tiny.add(copy), lambda: tiny.load("train")):
        with pytest.raises(RunError, match=r"cannot write .*plain/tiny.* .*REPLICATION_DATA"):
            act()


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk at the last moment. Catches: writing in place, leaving the temporary file."""
    write_atomically(tmp_path / "file", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match=r"file \(No space left on device\)"):
        write_atomically(tmp_path / "file", b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_data_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/a/home")
    monkeypatch.setenv("XDG_CACHE_HOME", "/a/cache")
    monkeypatch.setenv("REPLICATION_DATA", "~/chosen")
    assert data_home() == Path("/a/home/chosen")
    monkeypatch.delenv("REPLICATION_DATA")
    assert data_home() == Path("/a/cache/replication")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_home() == Path("/a/home/.cache/replication")
