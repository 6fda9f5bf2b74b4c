"""Folders as people really have them: which images of a copy are read, under which label and in which split, and what is said."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from replication.datasets.brought import Brought
from replication.datasets.photographs import Expected, find_photographs
from replication.registry import DATASETS
from replication.types import InputError

RNG = np.random.default_rng(0)


def put(folder: Path, n: int = 10, suffix: str = ".png", mode: str = "RGB", **options: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        pixels = RNG.integers(0, 256, (9, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{i}{suffix}", **options)
    return folder


def faces() -> Brought:
    return DATASETS.build("celebahq-256", resolution=8)


def own(classes: int) -> Brought:
    return DATASETS.build("own-images", classes=classes, resolution=8)


def two(path: Path, train: str, test: str) -> None:
    """A copy whose splits have folders of these names."""
    put(path / train, 12)
    put(path / test, 10)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "Test"),
        ("TRAINING", "validation"),
        ("train2017", "val2017"),
        ("my-train_images", "testing"),
        ("train", "Val"),
    ],
)
def test_split_folders_have_many_names(tmp_path: Path, train: str, test: str) -> None:
    """Catches: test images that get into training because their folder is written in another way."""
    two(tmp_path, train, test)
    copy = find_photographs(tmp_path, Expected("faces", 1))
    assert {split: len(found) for split, found in copy.splits.items()} == {"train": 12, "test": 10}


def classes(path: Path, *names: str) -> None:
    for name in names:
        put(path / name, 4)


def numbers(path: Path, *names: str) -> list[int]:
    """The folder's number behind each label 0, 1, ..."""
    classes(path, *names)
    copy = find_photographs(path, Expected("numbered", len(names)))
    return [int(Path(one.file).parent.name) for one in copy.splits["train"][::4]]


def test_class_folders_that_are_numbers_are_labels(tmp_path: Path) -> None:
    """Catches: label 2 for folder 10, the order of strings, with or without leading zeros."""
    assert numbers(tmp_path / "plain", *map(str, range(12))) == [*range(12)]
    assert numbers(tmp_path / "padded", *(f"{k:03}" for k in range(12))) == [*range(12)]
    assert numbers(tmp_path / "both", *(str(k) if k % 2 else f"{k:02}" for k in range(12))) == [*range(12)]


def test_names_that_are_no_utf8_are_names_of_classes(tmp_path: Path) -> None:
    """Catches: a record that cannot be written after everything has been read."""
    for name in (b"b\xe9ta", b"alpha"):
        put(tmp_path / os.fsdecode(name), 10)
    own(2).add(tmp_path)
    assert own(2).classes == ("alpha", r"b\xe9ta")


def test_the_classes_asked_for_are_those_of_the_copy(tmp_path: Path) -> None:
    """Catches: the number of what was added before in the place of the one that is asked for now."""
    copy = tmp_path / "copy"
    for name in ("cat", "dog"):
        put(copy / name)
    own(2).add(copy)
    with pytest.raises(InputError, match="has 2 class folders, and there are 3 classes"):
        own(3).add(copy)
    put(copy / "bird")
    own(3).add(copy)
    assert own(3).classes == ("bird", "cat", "dog")
    own(1).add(copy)
    assert own(1).classes == ("class-0",)


def test_what_is_found_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches: a part taken for the whole, files left out and photographs that lie on their side without a word."""
    exif = Image.Exif()
    exif[0x0112] = 6
    put(tmp_path / "part1", 10, ".jpg", exif=exif.tobytes())
    put(tmp_path / "part2", 12, ".webp")
    (tmp_path / "part2" / "notes.xml").touch()
    (tmp_path / "part2" / "Thumbs.db").touch()
    (tmp_path / "part2" / "._0.webp").touch()
    faces().add(tmp_path)
    out = capsys.readouterr().out
    assert "22 images in part2/ (12), part1/ (10); celebahq-256 has 30,000 as published" in out
    assert "10 have an orientation in EXIF, which is not applied" in out
    assert "2 files were not read: part2/Thumbs.db, part2/notes.xml" in out


def test_a_photograph_of_a_camera_is_read_before_its_previews(tmp_path: Path) -> None:
    """An MPO, as many telephones write .jpg. Catches: it taken for an animation; and CMYK, which ImageNet has, refused."""
    put(tmp_path, 12, ".jpg", "CMYK")
    first, second = (Image.fromarray(RNG.integers(0, 256, (9, 8, 3), dtype=np.uint8)) for _ in range(2))
    first.save(tmp_path / "camera.jpg", format="MPO", save_all=True, append_images=[second])
    faces().add(tmp_path)
    assert sum(faces().sizes.values()) == 13


def masks(path: Path) -> None:
    put(path / "set" / "images", 12, ".jpg")
    put(path / "set" / "annotations" / "0", 6, ".png", "L")
    put(path / "set" / "annotations" / "1", 6, ".png", "P")


def masks_beside_each(path: Path) -> None:
    """In colour, as tools of today write them, under the names of the photographs and a word."""
    put(path, 12, ".jpg")
    put(path / "moved", 12, ".png")
    for file in (path / "moved").iterdir():
        file.rename(path / f"{file.stem}_mask.png")
    (path / "moved").rmdir()


def more_than_published(path: Path) -> None:
    for part in "ab":
        put(path / part, 10)


def shared_between_splits(path: Path) -> None:
    put(path / "train", 10)
    (path / "test").symlink_to(path / "train")


def above(path: Path) -> None:
    """A class folder that is a link to the whole."""
    put(path / "0", 10)
    (path / "1").symlink_to(path)


def no_folder(path: Path) -> None:
    put(path, 10)
    (path / "11.png").symlink_to(path / "gone")


def pipe(path: Path) -> None:
    put(path, 10)
    os.mkfifo(path / "11.png")


@pytest.mark.parametrize(
    ("make", "count", "message"),
    [
        (masks, 1, r"annotations holds 12 grey images alone, and .*images photographs in colour"),
        (lambda p: (put(p, 9, ".jpg"), put(p / "masks", 3, mode="1")), 1, "masks holds 3 grey images alone"),
        (masks_beside_each, 1, "12 images are called like another one with _mask at the end"),
        (lambda p: (put(p / "images", 12), put(p / "SegLabels" / "labels", 12)), 1, "labels has images of the same names"),
        (more_than_published, 1, r"20 images in a/ \(10\), b/ \(10\), and toys has 15: move away"),
        (lambda p: (put(p / "part", 10), put(p / "bitmaps", 10, ".bmp")), 1, r"\(10 BMP; the first is bitmaps/0\.bmp\)"),
        (lambda p: put(p, 10, ".gif"), 1, r"\(10 GIF; the first is 0\.gif\): save them as PNG"),
        (lambda p: two(p / "data", "train", "test"), 1, "data/test is called as a split, .*: add .*data, or rename it"),
        (lambda p: two(p, "Train", "train"), 1, "has both Train/ and train/, each of which may be the train split"),
        (lambda p: two(p, "train", "extra"), 1, "extra/ holds images beside train/: no split would have them"),
        (lambda p: two(p, "valley", "holiday_test"), 1, "has holiday_test/ and no train/"),
        (shared_between_splits, 1, "test is the same folder as one in .*train: two places cannot share images"),
        (above, 2, "1 holds no images"),
        (no_folder, 1, "11.png: a link that leads nowhere"),
        (pipe, 1, "11.png: a link that leads nowhere, or no file"),
        (lambda p: classes(p, *map(str, range(1, 6))), 5, "have to be 0 to 4, each once; 1 is not"),
        (lambda p: classes(p, "0", "1", "3"), 3, "have to be 0 to 2, each once; 3 is not"),
        (lambda p: classes(p, "0", "1", "01"), 3, "have to be 0 to 2, each once; 0?1 is not"),
        (lambda p: (put(p / "cat"), put(p / "dog", 0)), 2, "dog holds no images"),
        (lambda p: put(p, 10, ".png", "RGBA") and Image.new("RGBA", (9, 9)).save(p / "5.png"), 1, "transparent pixels"),
        (lambda p: put(p, 10, ".webp", save_all=True, append_images=[Image.new("RGB", (8, 9))]), 1, "animation of 2"),
    ],
)  # fmt: skip
def test_copies_that_could_mean_two_things_are_refused(
    tmp_path: Path, make: Callable[[Path], object], count: int, message: str
) -> None:
    """And nothing is stored. Catches: a guess."""
    make(tmp_path)
    toys = replace(own(count), name="toys", published=15 if make is more_than_published else 0)
    with pytest.raises(InputError, match=message):
        toys.add(tmp_path)
    assert not own(count).present()


def test_numbers_and_a_few_second_versions_are_no_masks(tmp_path: Path) -> None:
    """Catches: photographs 1 and 1_2 taken for two sets, and folders that each count from 0."""
    for folder in ("a", "b"):
        put(tmp_path / folder, 12)
        for i in range(12):
            (tmp_path / folder / f"{i}.png").with_name(f"{i}_2.png").symlink_to(tmp_path / folder / f"{i}.png")
        Image.open(tmp_path / folder / "0.png").save(tmp_path / folder / "0_edited.png")
    faces().add(tmp_path)
    assert sum(faces().sizes.values()) == 50


def test_labels_of_imagenet_are_in_the_order_of_its_ids(tmp_path: Path) -> None:
    """Catches: folders that are called by what they show, whose order is another one."""
    names = ["tench", "goldfish"]
    for name in names:
        put(tmp_path / name)
    with pytest.raises(InputError, match=r"goldfish is no WordNet id: labels of imagenet-256 are in the order of"):
        find_photographs(tmp_path, Expected("imagenet-256", 2, wordnet=True))
    for name, wordnet in zip(names, ("n01440764", "n01443537-goldfish"), strict=True):
        (tmp_path / name).rename(tmp_path / wordnet)
    assert find_photographs(tmp_path, Expected("imagenet-256", 2, wordnet=True)).classes[1] == "n01443537-goldfish"
