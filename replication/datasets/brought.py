"""Datasets that may not be redistributed: the user brings a folder of photographs.

They are prepared to one resolution in one named way (pictures.py) and kept under `$REPLICATION_DATA` as one mapped
array per split (mapped.py). No hash of their content is published, so the fingerprint is that of what was added. Until
something is, a dataset has a fingerprint that no content has, and an experiment on it can be checked and planned.

A copy without a test split gets one here: every `held_out`-th example of the canonical order, the first included. That
is a choice within each class that depends on nothing but the pixels. Published code has lists of files instead.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from replication.datasets.dataset import Dataset, Split, Whole, captions
from replication.datasets.mapped import in_canonical_order, measured_fingerprint, open_mapped, open_whole, store
from replication.datasets.photographs import (
    Expected,
    Photograph,
    caption_file,
    find_photographs,
    read_caption,
    read_photograph,
)
from replication.datasets.pictures import WHOLE, Prepared, Stored, prepared, to_shorter_side
from replication.datasets.survey import survey
from replication.download import data_home
from replication.files import locked, replaced, require_space, unwritable, write_atomically
from replication.registry import DATASETS
from replication.settings import Settings
from replication.types import InputError

RESOLUTION = 256  # what a dataset has unless it is asked for another
PREPROCESSING: Prepared = "crop, bicubic"  # likewise
RECORD = "added.json"
UNKNOWN_CAPTION = "a photograph"  # in plans that are made before the captions are here


class Added(Settings):
    """What was added, beside the arrays: written last, so that it stands for whole ones."""

    classes: list[str]
    counts: dict[str, list[int]]  # split -> images of each class
    fingerprints: dict[str, str]
    captions: list[str] = []  # of the training images, in their order; none where they are made of the classes' names


@dataclass(frozen=True)
class Brought(Dataset):
    """See the module. An object describes what was there when it was built: after `add`, build it again."""

    preprocessing: Stored = field(kw_only=True)
    held_out: int = field(kw_only=True)  # where the copy has no test split, one example of so many becomes test
    folder: Path = field(kw_only=True)  # of this resolution, prepared in this way
    command: str = field(kw_only=True)  # the one that adds it
    asked: Sequence[str] = field(kw_only=True)  # classes that a copy is to have, whatever was added before
    published: int = field(kw_only=True)  # images of the published set in all, 0 where that is not known
    wordnet: bool = field(kw_only=True)  # whether its labels are in the order of WordNet's ids
    captioned: bool = field(kw_only=True)  # whether a copy has a caption beside each photograph
    prepared_as: "Callable[[int, Stored], Brought]" = field(kw_only=True)  # the same set otherwise

    def file(self, split: str) -> Path:
        """The split's images, `uint8 [N,C,H,W]` in canonical order."""
        return self.folder / f"{split}.npy"

    def present(self) -> bool:
        return _added(self.folder, self.captioned) is not None

    def ensure_captions(self) -> None:
        if self.captions:
            self._here()

    def kept_whole(self, shorter: int) -> "Brought":
        return self.prepared_as(shorter, WHOLE)

    def photographs(self, split: str) -> Whole:
        if self.preprocessing != WHOLE:
            return super().photographs(split)
        added = self._here()
        try:
            return open_whole(self.file(split), self._sizes(split), added.counts[split], added.fingerprints[split])
        except InputError as error:
            raise InputError(f"{self._blame(split)}: {error}") from error

    def _sizes(self, split: str) -> Path:
        return self.folder / f"{split}-sizes.npy"

    def add(self, path: str | PathLike[str]) -> None:
        """Take in a folder of photographs; all are decoded and checked before anything is stored or replaced.

        What was found, and what is not read, is printed before the work begins.
        Raises InputError naming the first file that cannot be used, RunError where nothing can be stored. Killed at any
        instant it leaves what was there before or nothing, and the same command begins anew.
        """
        expected = Expected(self.name, len(self.asked), self.wordnet, self.published)
        copy = find_photographs(Path(path), expected)
        if "test" not in copy.splits and self.preprocessing == WHOLE:
            raise InputError(
                f"{path} has no test/ or val/: what is held out of it would be other photographs than of the squares"
            )
        if self.captioned:
            texts = {os.path.relpath(caption_file(one), path) for of in copy.splits.values() for one in of}
            copy = copy._replace(skipped=[file for file in copy.skipped if file not in texts])
        for remark in survey(copy, Path(path), expected, self.resolution):
            print(remark, flush=True)
        with locked(self.folder / ".lock", f"dataset {self.name}"):
            splits = {
                split: in_canonical_order(photographs, self._decoded, f"{self.name} {split}")
                for split, photographs in copy.splits.items()
            }
            if "test" not in splits:
                whole = splits["train"]
                splits = {
                    "train": [p for i, p in enumerate(whole) if i % self.held_out],
                    "test": whole[:: self.held_out],
                }
            self._store(splits, copy.classes or self.asked)

    def verify(self) -> dict[str, str]:
        found = {}
        for split in self.fingerprints:
            content = self.photographs(split) if self.preprocessing == WHOLE else self.load(split)
            image = content.image if isinstance(content, Whole) else content.images.__getitem__
            found[split] = measured_fingerprint(content.labels, image, f"{self.name} {split}")
            if found[split] != content.fingerprint:
                raise InputError(
                    f"{self._blame(split)}: its SHA-256 is {found[split]}, and was {content.fingerprint} when it was added"
                )
        return found

    def _decoded(self, photograph: Photograph) -> np.ndarray:
        """uint8 [H,W,C]; raises InputError naming the file."""
        image = read_photograph(photograph.file, self.resolution)
        if self.preprocessing == WHOLE:
            return to_shorter_side(image, self.resolution)
        return prepared(image, self.resolution, self.preprocessing)

    def _store(self, splits: Mapping[str, Sequence[Photograph]], classes: Sequence[str]) -> None:
        texts = [read_caption(one) for one in splits["train"]] if self.captioned else []
        try:
            for name in (RECORD, *(f"{split}.npy" for split in self.fingerprints)):  # first what marks them as whole
                (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        sizes = {split: np.array([one.size for one in of], dtype=np.int64) for split, of in splits.items()}
        require_space(self.folder, sum(int(3 * of.prod(1).sum()) for of in sizes.values()))
        counts, fingerprints = {}, {}
        for split, photographs in splits.items():
            of_label = Counter(photograph.label for photograph in photographs)
            counts[split] = [of_label[label] for label in range(len(classes))]
            shape: tuple[int, ...] = (len(photographs), *self.shape)
            if self.preprocessing == WHOLE:
                shape = (int(3 * sizes[split].prod(1).sum()),)
                with replaced(self._sizes(split)) as partial_file, open(partial_file, "wb") as out:
                    np.save(out, sizes[split])
            fingerprints[split] = store(photographs, self._decoded, self.file(split), shape, f"{self.name} {split}")
        added = Added(classes=list(classes), counts=counts, fingerprints=fingerprints, captions=texts)
        write_atomically(self.folder / RECORD, added.model_dump_json().encode())

    def _read(self, split: str) -> Split:
        added = self._here()
        if self.preprocessing == WHOLE:
            raise InputError(f"{self.name} as {WHOLE!r} has no squares: training.crop cuts windows out of it")
        try:
            return open_mapped(self.file(split), added.counts[split], self.shape, added.fingerprints[split])
        except InputError as error:
            raise InputError(f"{self._blame(split)}: {error}") from error

    def _here(self) -> Added:
        if (added := _added(self.folder, self.captioned)) is None:
            raise InputError(
                f"{self.name} is not here, and may not be redistributed: {self.command} adds a copy of yours"
            )
        return added

    def _whereabouts(self) -> str:
        here = f"stored in {self.folder}" if self.present() else f"not here: {self.command} adds a copy of yours"
        others = sorted(file.parent for file in self.folder.parent.glob(f"*/{RECORD}"))
        return "; ".join([here, *(f"also as {other.name}" for other in others if other != self.folder)])

    def _blame(self, split: str) -> str:
        return f"{self.file(split)} is damaged, or was added again meanwhile; if running again does not help, {self.command}"


def brought(
    registered: str,
    classes: Sequence[str],
    held_out: int,
    resolution: int,
    preprocessing: Stored = PREPROCESSING,
    templates: tuple[str, ...] = (),
    title: str = "",
    published: int = 0,
    wordnet: bool = False,
    captioned: bool = False,
) -> Brought:
    """A set of RGB photographs, any of which may be mirrored, with what is known of its content on this machine.

    More than one class means that the copy has a folder per class, whose names replace `classes` once it is added, and
    make captions by `templates`; then their number is an option. title: distinguishes sets under one registered name.
    published, wordnet, captioned: see Brought.
    """
    if not re.fullmatch(r"[\w-]*", title):
        raise InputError(f"dataset {registered!r}: title is letters, digits, _ and -, not {title!r}")
    name = f"{registered}-{title}" if title else registered
    options = {
        "title": title,
        "classes": len(classes),
        "resolution": resolution,
        "preprocessing": preprocessing,
        "captioned": captioned,
    }
    usual = {"title": "", "classes": len(classes), "captioned": False, **DATASETS.defaults(registered)}
    asked = [f" --set {key}={json.dumps(value)}" for key, value in options.items() if usual.get(key) != value]
    folder = data_home() / name / f"{resolution}-{preprocessing.replace(',', '').replace(' ', '-')}"
    names, texts = classes, [UNKNOWN_CAPTION] if captioned else []
    if added := _added(folder, captioned):
        names, fingerprints, texts = added.classes, added.fingerprints, added.captions if captioned else []
        sizes = {split: sum(counts) for split, counts in added.counts.items()}
    else:
        absent = hashlib.sha256(f"not added: {name}, {resolution}, {preprocessing}".encode()).hexdigest()
        fingerprints, sizes = dict.fromkeys(("train", "test"), absent), {"train": 0, "test": 0}
    return Brought(
        name=name,
        channels=3,
        resolution=resolution,
        classes=tuple(names),
        captions=tuple(texts) or captions([(c.replace("_", " "),) for c in names], templates),
        flip=True,
        sizes=sizes,
        fingerprints=fingerprints,
        preprocessing=preprocessing,
        held_out=held_out,
        folder=folder,
        asked=classes,
        published=published,
        wordnet=wordnet,
        captioned=captioned,
        prepared_as=lambda side, way: brought(
            registered, classes, held_out, side, way, templates, title, published, wordnet, captioned
        ),
        command=f"`replicate data add {registered} PATH{''.join(asked)}`",
    )


def _added(folder: Path, captioned: bool) -> Added | None:
    """What was added there; None for nothing, for no captions where they are wanted, and for a record that cannot be read.

    `add` replaces it.
    """
    try:
        added = Added.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None
    return added if added.captions or not captioned else None
