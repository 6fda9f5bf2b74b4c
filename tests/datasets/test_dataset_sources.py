"""Local copies: three forms of the same content become the same files; anything else is refused with its name."""

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from dataset_copies import Examples, encoded, expected_fingerprint, write_archive, write_folder, write_parquet
from PIL import Image

from replication.datasets.archived import Archived
from replication.registry import DATASETS
from replication.types import InputError


def stored(home: Path) -> list[Path]:
    """Every file under the data folder but the lock."""
    return sorted(file for file in home.rglob("*") if file.is_file() and file.name != ".lock")


def test_all_forms_store_the_same_bytes(tiny: Archived, examples: Examples, home: Path, tmp_path: Path) -> None:
    """Max-abs 0. Catches: HWC read as CHW in the archive, BGR, class folders in alphabetical label order."""
    copies = [
        write_parquet(tmp_path / "parquet", examples),
        write_folder(tmp_path / "folder", examples, tiny.classes),
        write_archive(tmp_path / "copy.tar.gz", examples),
    ]
    found = []
    for copy in copies:
        tiny.add(copy)
        assert tiny.verify() == tiny.fingerprints
        assert [file.name for file in stored(home)] == ["test.safetensors", "train.safetensors"]
        found.append([file.read_bytes() for file in stored(home)])
        shutil.rmtree(home)
    assert found[0] == found[1] == found[2]
    tiny.add(copies[0])
    split = tiny.load("train")
    assert split.images.shape == (50, 3, 32, 32)
    label, image = min(examples["train"], key=lambda pair: bytes([pair[0]]) + pair[1].tobytes())
    assert split.labels[0] == label
    assert torch.equal(split.images[0].permute(1, 2, 0), torch.from_numpy(image))


@pytest.mark.parametrize("form", ["parquet", "folder", "archive"])
def test_other_content_is_refused(tiny: Archived, examples: Examples, home: Path, tmp_path: Path, form: str) -> None:
    """One test image too few, while train is right. Catches: storing split by split before all are checked."""
    examples["test"].pop()
    copy = {
        "parquet": lambda: write_parquet(tmp_path / "copy", examples),
        "folder": lambda: write_folder(tmp_path / "copy", examples, tiny.classes),
        "archive": lambda: write_archive(tmp_path / "copy", examples),
    }[form]()
    wanted = tiny.fingerprints["test"]
    with pytest.raises(InputError, match=rf"copy is refused and nothing was stored: .*10 .* {wanted}, got 9 with \w+"):
        tiny.add(copy)
    assert not stored(home)


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def break_image(folder: Path) -> None:
    next((folder / "train").glob("*/3.png")).write_bytes(b"this is text")


def jpeg_as_png(folder: Path) -> None:
    Image.new("RGB", (32, 32)).save(next((folder / "train").glob("*/3.png")), "JPEG")


def jpeg_beside(folder: Path) -> None:
    Image.new("RGB", (32, 32)).save(folder / "train" / "1" / "extra.jpg")


def other_size(folder: Path) -> None:
    next((folder / "train").glob("*/3.png")).write_bytes(encoded(np.zeros((28, 32, 3), np.uint8), "PNG"))


def other_class(folder: Path) -> None:
    (folder / "train" / "airplane").rename(folder / "train" / "aeroplane")


def no_test_images(folder: Path) -> None:
    shutil.rmtree(folder / "test")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (empty, "copy holds no copy of tiny; it can be added from .*parquet.*png.*published archive"),
        (break_image, r"3\.png: not a readable PNG or WebP image"),
        (jpeg_as_png, r"3\.png: not a readable PNG or WebP image"),
        (jpeg_beside, r"extra\.jpg: only PNG files"),
        (other_size, r"3\.png: the image is 32x28, tiny has 32x32"),
        (other_class, "aeroplane: unknown tiny class 'aeroplane'; did you mean 'airplane'"),
        (no_test_images, "test holds no images"),
    ],
)
def test_bad_folder(
    tiny: Archived, examples: Examples, home: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    examples["train"].append((0, examples["train"][0][1]))  # so that `airplane` exists
    spoil(write_folder(tmp_path / "copy", examples, tiny.classes))
    with pytest.raises(InputError, match=message):
        tiny.add(tmp_path / "copy")
    assert not stored(home)


ROW = {"img": {"bytes": encoded(np.zeros((32, 32, 3), np.uint8), "PNG"), "path": "a"}, "label": 3}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROW | {"label": 10}, r"train-0\.parquet row 1: label 10 is none of 0\.\.9"),
        (ROW | {"img": {"bytes": b"text", "path": "a"}}, r"train-0\.parquet row 1: not a readable"),
        (ROW | {"img": {"bytes": None, "path": "a"}}, r"train-0\.parquet row 1: not a readable"),
    ],
)
def test_bad_parquet_row(tiny: Archived, tmp_path: Path, row: dict, message: str) -> None:
    pq.write_table(pa.Table.from_pylist([ROW, row]), tmp_path / "train-0.parquet")
    with pytest.raises(InputError, match=message):
        tiny.add(tmp_path)


def test_bad_parquet_file(tiny: Archived, tmp_path: Path) -> None:
    shard = tmp_path / "train-0.parquet"
    pq.write_table(pa.table({"picture": [1], "label": [1]}), shard)
    with pytest.raises(InputError, match=r"train-0\.parquet: no readable columns img"):
        tiny.add(tmp_path)
    shard.write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"train-0\.parquet: no readable columns img"):
        tiny.add(tmp_path)
    pq.write_table(pa.Table.from_pylist([ROW]), shard)
    with pytest.raises(InputError, match=r"no test-\*\.parquet"):
        tiny.add(tmp_path)


def test_bad_archive(tiny: Archived, examples: Examples, tmp_path: Path) -> None:
    """Catches: a truncated member read as fewer examples, labels beyond the classes let through."""
    copy = tmp_path / "copy.tar.gz"
    with pytest.raises(InputError, match=r"copy\.tar\.gz does not exist; tiny can be added from"):
        tiny.add(copy)
    write_archive(copy, examples)
    copy.write_bytes(copy.read_bytes()[:-5000])
    with pytest.raises(InputError, match=r"copy\.tar\.gz is no readable archive"):
        tiny.add(copy)
    copy.write_bytes(b"\x80\x04 a pickle, perhaps")
    with pytest.raises(InputError, match=r"copy\.tar\.gz is no readable archive"):
        tiny.add(copy)
    write_archive(copy, examples | {"test": [(77, examples["test"][0][1])]})
    with pytest.raises(InputError, match=r"copy\.tar\.gz: label 77 is none of 0\.\.9"):
        tiny.add(copy)
    write_archive(copy, examples | {"test": [(1, np.zeros((32, 31, 3), np.uint8))]})
    with pytest.raises(InputError, match=r"test_batch\.bin has 2,977 bytes, which is no whole number of 3073-byte"):
        tiny.add(copy)


def test_archive_of_pickles_is_refused(tiny: Archived, examples: Examples, tmp_path: Path) -> None:
    """The Python version of CIFAR-10 has members without `.bin`; none of them is read."""
    with tarfile.open(tmp_path / "copy.tar.gz", "w:gz") as archive:
        (tmp_path / "data_batch_1").write_bytes(b"")
        archive.add(tmp_path / "data_batch_1", "cifar-10-batches-py/data_batch_1")
    with pytest.raises(InputError, match=r"no data_batch_1\.bin; the binary version"):
        tiny.add(tmp_path / "copy.tar.gz")


LETTERS = {
    split: [(i % 3, np.random.default_rng([i, n]).integers(0, 256, (6, 6, 1), dtype=np.uint8)) for i in range(n)]
    for split, n in (("train", 20), ("test", 4))
}


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(2)).save(buffer, "PNG")
    return buffer.getvalue()


def archive_of(file: Path, as_images: bool) -> Path:
    """Records of two label bytes, or {train,test}/CLASS/*.png below a folder; a zip or a tar by the file's name."""
    content = {"letters/README": b"about"}
    for split, pairs in LETTERS.items():
        if as_images:
            content |= {f"letters/{split}/{'abc'[label]}/{i}.png": png(image) for i, (label, image) in enumerate(pairs)}
        else:
            content[f"letters/{split}.bin"] = b"".join(bytes([7, label]) + image.tobytes() for label, image in pairs)
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
        return file
    with tarfile.open(file, "w") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file


@pytest.mark.parametrize("name", ["copy.zip", "copy.tar"])
@pytest.mark.parametrize("as_images", [False, True], ids=["records", "images"])
def test_an_archived_dataset_is_one_file(tmp_path: Path, name: str, as_images: bool) -> None:
    """By its name from another package; its fingerprints are stated by the refusal. Catches the coarse label for the fine
    one, pixels that begin a byte too early, and an archive that only a tar.gz can be."""
    dataset = DATASETS.build("letters:letters", as_images=as_images)
    copy = archive_of(tmp_path / name, as_images)
    stated = {split: expected_fingerprint(pairs) for split, pairs in LETTERS.items()}
    with pytest.raises(InputError, match=rf"must be 20 .* got 20 with {stated['train']}"):
        dataset.add(copy)
    dataset = replace(dataset, fingerprints=stated)
    dataset.add(copy)
    assert dataset.verify() == stated
    assert dataset.load("test").labels.tolist() == [0, 0, 1, 2]
