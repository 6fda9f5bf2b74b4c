"""A folder of photographs, in whatever sizes they have: which files it holds, and one file as RGB.

    PATH/...                        PNG, JPEG or WebP files, at any depth
    PATH/{CLASS}/...                where the dataset has classes: label k is the k-th class folder by name
    PATH/train/..., PATH/test/...   the same below each, where the copy has a split of its own; val is as good as test

Files of other kinds are passed over and counted, hidden ones without a word. Nothing is unpickled, and LSUN's lmdb is
not read.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from replication.datasets.pictures import opened_picture
from replication.types import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
LEAST_IMAGES = 10  # of a split
ACCEPTED = "a folder of PNG, JPEG or WebP images, perhaps in train/ and test/ (or val/)"


class Photograph(NamedTuple):
    """One file and its label, 0 where the dataset has one class; digest and size once mapped.py has decoded it."""

    label: int
    digest: bytes
    file: str  # not a Path: there may be millions
    size: tuple[int, int] = (0, 0)  # height and width as it is stored


class Copy(NamedTuple):
    """The photographs of each split that the copy has, the class folders' names, and the files that were not read."""

    splits: dict[str, list[Photograph]]
    classes: tuple[str, ...]  # empty without class folders
    skipped: list[str]


def find_photographs(path: Path, classes: int, name: str) -> Copy:
    """The photographs below `path`, in class folders if there is more than one class; `name` is the dataset's.

    Raises InputError for a folder without images, of another structure or number of classes, and for LSUN's lmdb.
    """
    accepted = f"{name} can be added from {ACCEPTED}" + (", each with one folder per class" if classes > 1 else "")
    if not path.is_dir():
        reason = "is a file" if path.exists() else "does not exist"
        raise InputError(f"{path} {reason}{_lmdb(path)}; {accepted}")
    splits: dict[str, list[Photograph]] = {}
    names, skipped = {}, list[str]()
    for split, folder in _splits(path).items():
        splits[split] = []
        places = _class_folders(folder, classes) if classes > 1 else [folder]
        names[split] = tuple(place.name for place in places) if classes > 1 else ()
        for label, place in enumerate(places):
            found = [Photograph(label, b"", file) for file in _images(place, skipped)]
            if not found:
                raise InputError(f"{place} holds no images; {accepted}")
            splits[split] += found
        if (n := len(splits[split])) < LEAST_IMAGES:
            raise InputError(f"{path}: {split} has {n} images, at least {LEAST_IMAGES} are needed")
    if odd := sorted(set(names["train"]) ^ set(names.get("test", names["train"]))):
        raise InputError(f"{path}: class folder {odd[0]!r} is in one of the splits alone")
    return Copy(splits, names["train"], skipped)


def read_photograph(file: str, smallest: int) -> Image.Image:
    """The file as RGB with 8 bits, no side below `smallest`; raises InputError naming the file and what it is."""
    with opened_picture(file, file) as image:
        width, height = image.size
        if min(width, height) < smallest:
            raise InputError(
                f"{file}: the image is {width}x{height}, smaller than {smallest}x{smallest}; an enlarged one "
                "is no reference"
            )
        return image.convert("RGB")


def _splits(path: Path) -> dict[str, Path]:
    """Split -> folder: the whole of `path` as train where it has no split of its own."""
    there = [name for name in ("train", "test", "val") if (path / name).is_dir()]
    if not there:
        return {"train": path}
    if there[0] != "train":
        raise InputError(f"{path} has {there[0]}/ and no train/")
    if len(there) == 3:
        raise InputError(f"{path} has both test/ and val/: move away the one that is not to be measured against")
    if loose := sorted(file.name for file in path.iterdir() if _is_image(file.name)):
        raise InputError(f"{path / loose[0]} lies beside train/: no split would have it")
    return dict(zip(("train", "test"), (path / name for name in there), strict=False))


def _class_folders(folder: Path, classes: int) -> list[Path]:
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    if loose := [entry for entry in entries if _is_image(entry.name) and entry.is_file()]:
        raise InputError(f"{loose[0]} lies in no class folder, and its name is no label")
    folders = [entry for entry in entries if entry.is_dir()]
    if len(folders) != classes:
        raise InputError(
            f"{folder} has {len(folders):,} class folders, and there are {classes:,} classes{_lmdb(folder)}"
        )
    return folders


def _images(folder: Path, skipped: list[str]) -> Iterator[str]:
    """The image files below the folder, by name, each real folder once; raises InputError for an lmdb among them."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:  # a link to what was read, or to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if _is_image(name):
                yield os.path.join(place, name)
            elif lmdb := _lmdb(Path(place, name)):
                raise InputError(f"{Path(place, name)}{lmdb}")
            elif not name.startswith("."):
                skipped.append(os.path.join(place, name))


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _lmdb(path: Path) -> str:
    """What to do with LSUN's database, if it is one."""
    lies = path.suffix == ".mdb" or path.name.endswith(("_lmdb", "_lmdb.zip")) or (path / "data.mdb").exists()
    return ": LSUN's lmdb is not read here; export its images to a folder, as LSUN's own tools do" if lies else ""
