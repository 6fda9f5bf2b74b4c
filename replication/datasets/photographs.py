"""A folder of photographs, in whatever sizes they have: which files it holds, and one file as RGB.

    PATH/...                        PNG, JPEG or WebP files, at any depth
    PATH/{CLASS}/...                where the dataset has classes: label k is the k-th class folder by name, or folder k
    PATH/train/..., PATH/test/...   the same below each, where the copy has a split of its own; val is as good as test

A split's folder may have any of its usual names, in any case (SPLITS). Files of other kinds are counted and named, hidden
ones without a word. Linked folders are read, each once. Nothing is unpickled, and LSUN's lmdb is not read.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

from PIL import Image

from replication.datasets.pictures import is_hidden, is_picture, opened_picture, refuse_other_formats
from replication.files import printable
from replication.types import InputError

LEAST_IMAGES = 10  # of a split
ACCEPTED = "a folder of PNG, JPEG or WebP images, perhaps in train/ and test/ (or val/)"
SPLITS = {  # words in the names of their folders
    "train": {"train", "training", "trainset", "trainval"},
    "test": {"test", "testing", "testset"},
    "val": {"val", "valid", "validation", "valset", "dev", "eval"},
}
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
NUMBER = re.compile(r"[0-9]+")
WORDNET = re.compile(r"n[0-9]{8}(?![0-9])")


class Photograph(NamedTuple):
    """One file and its label, 0 where the dataset has one class; digest and size once mapped.py has decoded it."""

    label: int
    digest: bytes
    file: str  # not a Path: there may be millions
    size: tuple[int, int] = (0, 0)  # height and width as it is stored


def caption_file(photograph: Photograph) -> Path:
    """What lies beside a photograph that has a caption: a text of the same name, as img2dataset writes it."""
    return Path(photograph.file).with_suffix(".txt")


def read_caption(photograph: Photograph) -> str:
    """Its words on one line; raises InputError naming the file where there are none."""
    file = caption_file(photograph)
    try:
        caption = " ".join(file.read_text(encoding="utf-8").split())
    except FileNotFoundError as error:
        raise InputError(
            f"{photograph.file} has no {file.name} beside it: captioned takes one for each photograph"
        ) from error
    except (OSError, UnicodeError) as error:
        raise InputError(f"{file}: no caption in UTF-8 ({error})") from error
    if not caption:
        raise InputError(f"{file}: the caption is blank")
    return caption


class Copy(NamedTuple):
    """The photographs of each split that the copy has, the class folders' names, and the files that were not read."""

    splits: dict[str, list[Photograph]]
    classes: tuple[str, ...]  # empty without class folders
    skipped: list[str]  # below the path


class Expected(NamedTuple):
    """What is known of a dataset's copies.

    wordnet: labels are in the order of WordNet's ids. published: images of the published set, 0 where that is not known.
    """

    name: str
    classes: int
    wordnet: bool = False
    published: int = 0


def find_photographs(path: Path, expected: Expected) -> Copy:
    """The photographs below `path`, in class folders if there is more than one class.

    Raises InputError for a folder without images, with images of other formats, of another structure or number of
    classes, and for LSUN's lmdb.
    """
    name, classes = expected.name, expected.classes
    accepted = f"{name} can be added from {ACCEPTED}" + (", each with one folder per class" if classes > 1 else "")
    if not path.is_dir():
        reason = "is a file" if path.exists() else "does not exist"
        packed = ": unpack it" if path.name.lower().endswith(ARCHIVES) and path.exists() else ""
        raise InputError(f"{path} {reason}{_lmdb(path) or packed}; {accepted}")
    walk, names, splits = _Walk(path), {}, dict[str, list[Photograph]]()
    for split, folder in _splits(path, walk).items():
        splits[split] = []
        places = _class_folders(folder, expected, walk) if classes > 1 else [folder]
        names[split] = tuple(printable(place.name) for place in places) if classes > 1 else ()
        for label, place in enumerate(places):
            found = [Photograph(label, b"", file) for file in walk.images(place, split)]
            if not found:
                refuse_other_formats(path, walk.skipped)
                raise InputError(f"{place} holds no images; {accepted}")
            splits[split] += found
        if (n := len(splits[split])) < LEAST_IMAGES:
            raise InputError(f"{path}: {split} has {n} images, at least {LEAST_IMAGES} are needed")
    refuse_other_formats(path, walk.skipped)
    if odd := sorted(set(names["train"]) ^ set(names.get("test", names["train"]))):
        raise InputError(f"{path}: class folder {odd[0]!r} is in one of the splits alone")
    return Copy(splits, names["train"], walk.skipped)


@contextmanager
def opened_photograph(file: str, smallest: int) -> Iterator[Image.Image]:
    """The file, of which no pixel is decoded yet, no side below `smallest`; raises InputError naming it and what it is."""
    with opened_picture(file, file) as image:
        width, height = image.size
        if min(width, height) < smallest:
            raise InputError(
                f"{file}: the image is {width}x{height}, smaller than {smallest}x{smallest}; an enlarged one "
                "is no reference"
            )
        yield image


def read_photograph(file: str, smallest: int) -> Image.Image:
    """The file as RGB with 8 bits; raises InputError likewise."""
    with opened_photograph(file, smallest) as image:
        return image.convert("RGB")


def split_of(name: str) -> str | None:
    """Which split a folder of this name is: `Train`, `TEST`, `val2017`, `my_training-images`; None for no split's."""
    words = set(re.split("[^a-z]+", name.casefold()))
    return next((split for split, names in SPLITS.items() if words & names), None)


def _splits(path: Path, walk: "_Walk") -> dict[str, Path]:
    """Split -> folder: the whole of `path` as train where it has no split of its own."""
    entries = walk.entries(path)
    folders = [(split, entry) for entry in entries if entry.is_dir() and (split := split_of(entry.name))]
    if not folders:
        return {"train": path}
    for split, folder in folders:
        if double := [other.name for one, other in folders if one == split and other != folder]:
            raise InputError(f"{path} has both {folder.name}/ and {double[0]}/, each of which may be the {split} split")
    there = dict(folders)
    if "train" not in there:
        raise InputError(f"{path} has {folders[0][1].name}/ and no train/")
    if len(there) == 3:
        raise InputError(
            f"{path} has both {there['test'].name}/ and {there['val'].name}/: move away the one that is not to be "
            "measured against"
        )
    for entry in entries:
        if entry in there.values():
            continue
        if entry.is_dir() and next(_Walk(path).images(entry, None), None):
            raise InputError(
                f"{entry}/ holds images beside {there['train'].name}/: no split would have them. Move it away, or, if "
                f"{there['train'].name} is no split, rename that"
            )
        if is_picture(entry.name):
            raise InputError(f"{entry} lies beside {there['train'].name}/: no split would have it")
        walk.skip(entry)
    held_out = there.get("test") or there.get("val")
    return {"train": there["train"], **({"test": held_out} if held_out else {})}


def _class_folders(folder: Path, expected: Expected, walk: "_Walk") -> list[Path]:
    """In the order of the labels, which folders that are called by numbers state themselves."""
    entries, classes = walk.entries(folder), expected.classes
    folders = [entry for entry in entries if entry.is_dir()]
    if loose := [entry for entry in entries if is_picture(entry.name) and entry not in folders]:
        raise InputError(f"{loose[0]} lies in no class folder, and its name is no label")
    if len(folders) != classes:
        raise InputError(
            f"{folder} has {len(folders):,} class folders, and there are {classes:,} classes{_lmdb(folder)}"
        )
    for entry in entries:
        if entry not in folders:
            walk.skip(entry)
    if all(NUMBER.fullmatch(one.name) for one in folders):
        folders.sort(key=lambda one: int(one.name))
        if wrong := [one.name for label, one in enumerate(folders) if int(one.name) != label]:
            raise InputError(
                f"{folder}: its class folders are numbers, which are labels, and have to be 0 to {classes - 1}, each once; "
                f"{wrong[0]} is not. If they are names, write them with a letter"
            )
    elif odd := [one for one in folders if expected.wordnet and not WORDNET.match(one.name)]:
        raise InputError(
            f"{odd[0]} is no WordNet id: labels of {expected.name} are in the order of class folders called n01440764 and "
            f"so on, or are their numbers, 0 to {classes - 1}"
        )
    return folders


class _Walk:
    """Reads the folders of a copy, each real one once, and keeps what is not read."""

    def __init__(self, root: Path):
        self.root = root
        self.skipped: list[str] = []  # below the root
        self._seen: dict[str, Path] = {}  # real folder -> below which of the places it was read

    def entries(self, folder: Path) -> list[Path]:
        """What lies in the folder, by name, hidden files left out."""
        try:
            return sorted(entry for entry in folder.iterdir() if not is_hidden(entry.name))
        except OSError as error:
            _raise_unreadable(error)

    def skip(self, entry: Path) -> None:
        """Count a file that is not read, or what is in a folder."""
        if not entry.is_dir():
            self._skip(str(entry))
            return
        for place, _, files in self._folders(entry):
            for name in files:
                self._skip(os.path.join(place, name))

    def images(self, place: Path, split: str | None) -> Iterator[str]:
        """The image files below a place that one split or class has.

        Raises InputError for an lmdb among them, for a folder of another split, and for one that another place has too.
        """
        for folder, folders, files in self._folders(place):
            for name in folders:
                if (of := split_of(name)) and split and of != split and not (of == "val" and split == "test"):
                    raise InputError(
                        f"{os.path.join(folder, name)} is called as a split, further down than it is looked for: add "
                        f"{folder}, or rename it"
                    )
            for name in files:
                file = os.path.join(folder, name)
                if is_picture(name) and not os.path.isfile(file):
                    raise InputError(f"{file}: a link that leads nowhere, or no file")
                if is_picture(name):
                    yield file
                elif lmdb := _lmdb(Path(file)):
                    raise InputError(f"{file}{lmdb}")
                else:
                    self._skip(file)

    def _folders(self, place: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        """As os.walk, in the order of names; links that lead in a circle, or to what this place has already, end there."""
        above = {os.path.realpath(folder) for folder in place.absolute().parents}
        for folder, folders, files in os.walk(place, followlinks=True, onerror=_raise_unreadable):
            real = os.path.realpath(folder)
            if real in above or self._seen.get(real) == place:
                folders.clear()
                continue
            if real in self._seen:
                raise InputError(
                    f"{folder} is the same folder as one in {self._seen[real]}: two places cannot share images"
                )
            self._seen[real] = place
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            yield folder, folders, sorted(name for name in files if not is_hidden(name))

    def _skip(self, file: str) -> None:
        self.skipped.append(os.path.relpath(file, self.root))


def _raise_unreadable(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename}: the folder can't be read ({error.strerror})") from error


def _lmdb(path: Path) -> str:
    """What to do with LSUN's database, if it is one."""
    lies = path.suffix == ".mdb" or path.name.endswith(("_lmdb", "_lmdb.zip")) or (path / "data.mdb").exists()
    return ": LSUN's lmdb is not read here; export its images to a folder, as LSUN's own tools do" if lies else ""
