"""Datasets that may not be redistributed: the user brings a folder of photographs.

They are prepared to one resolution in one named way (preprocessing.py) and kept under `$REPLICATION_DATA` as one mapped
array per split (mapped.py). No hash of their content is published, so the fingerprint is that of what was added. Until
something is, a dataset has a fingerprint that no content has, and an experiment on it can be checked and planned.

A copy without a test split gets one here: every `held_out`-th example of the canonical order, the first included. That
is a choice within each class that depends on nothing but the pixels. Published code has lists of files instead.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from errno import ENOSPC
from os import PathLike
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from replication.datasets.captions import captions
from replication.datasets.content import Split
from replication.datasets.dataset import Dataset
from replication.datasets.intake import Known, counted, held_out, in_canonical_order, store
from replication.datasets.mapped import labels_file, measured_fingerprint, open_mapped
from replication.datasets.photographs import Photograph, find_photographs, read_photograph
from replication.datasets.preprocessing import Prepared, prepared
from replication.download import data_home
from replication.files import locked, unwritable, write_atomically
from replication.settings import Settings
from replication.types import InputError

LEAST_IMAGES = 10
RESOLUTION = 256  # what a dataset has unless it is asked for another
PREPROCESSING: Prepared = "crop, bicubic"  # likewise


class Added(Settings):
    """What was added, `added.json` beside the arrays: written last, so that it stands for whole ones."""

    classes: list[str]
    sizes: dict[str, int]
    fingerprints: dict[str, str]


@dataclass(frozen=True)
class Brought(Dataset):
    """See the module. An object describes what was there when it was built: after `add`, build it again."""

    preprocessing: Prepared = field(kw_only=True)
    held_out: int = field(kw_only=True)  # where the copy has no test split, one example of so many becomes test
    asked: Mapping[str, object] = field(kw_only=True)  # the options that are not the registered dataset's own
    registered: str = field(kw_only=True)  # its name in the registry

    @property
    def folder(self) -> Path:
        """Where it is stored, at this resolution and prepared in this way."""
        return _folder(self.name, self.resolution, self.preprocessing)

    def file(self, split: str) -> Path:
        """The split's images, `uint8 [N,C,H,W]` in canonical order."""
        return self.folder / f"{split}.npy"

    def present(self) -> bool:
        return _added(self.folder) is not None

    def status(self) -> str:
        if any(self.sizes.values()):
            return super().status()
        shape = f"{self.resolution}x{self.resolution}x{self.channels}"
        return f"{self.name}: {shape}, {len(self.classes)} classes; {self._whereabouts()}"

    def add(self, path: str | PathLike[str]) -> None:
        """Take in a folder of photographs; all are decoded and checked before anything is stored or replaced.

        Raises InputError naming the first file that cannot be used, RunError where nothing can be stored. Killed at any
        instant it leaves what was there before or nothing, and the same command begins anew.
        """
        copy = find_photographs(Path(path), len(self.classes), self.name)
        for split, photographs in copy.splits.items():
            if len(photographs) < LEAST_IMAGES:
                raise InputError(f"{path}: {split} has {len(photographs)} images, at least {LEAST_IMAGES} are needed")
        with locked(self.folder / ".lock", f"dataset {self.name}"):
            splits = {
                split: in_canonical_order(photographs, self._decoded, f"{self.name} {split}")
                for split, photographs in copy.splits.items()
            }
            whole = splits if "test" in splits else held_out(splits["train"], self.held_out)
            self._store(whole, list(copy.classes or self.classes))
        if copy.skipped:
            print(f"{len(copy.skipped):,} files of other kinds were passed over, the first of them {copy.skipped[0]}")

    def verify(self) -> dict[str, str]:
        found = {}
        for split in self.fingerprints:
            content = self.load(split)
            size = len(content.labels)
            found[split] = measured_fingerprint(content, counted(range(size), size, f"{self.name} {split}"))
            if found[split] != content.fingerprint:
                raise InputError(
                    f"{self._blame(split)}: its SHA-256 is {found[split]}, and was {content.fingerprint} when it was added"
                )
        return found

    def _decoded(self, photograph: Photograph) -> np.ndarray:
        """uint8 [H,W,C]; raises InputError naming the file."""
        return prepared(read_photograph(photograph, self.resolution), self.resolution, self.preprocessing)

    def _store(self, splits: dict[str, list[Known]], classes: list[str]) -> None:
        shape = (self.channels, self.resolution, self.resolution)
        sizes = {split: len(known) for split, known in splits.items()}
        self._forget()
        needed, free = sum(sizes.values()) * int(np.prod(shape)), shutil.disk_usage(self.folder).free
        if needed > free:  # an error now, and not hours later
            full = OSError(ENOSPC, f"{needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
            raise unwritable(self.folder, full)
        fingerprints = {
            split: store(known, self._decoded, self.file(split), shape, f"{self.name} {split}")
            for split, known in splits.items()
        }
        added = Added(classes=classes, sizes=sizes, fingerprints=fingerprints)
        write_atomically(_record(self.folder), added.model_dump_json(indent=1).encode())

    def _forget(self) -> None:
        """Remove what was added before, and first of all the file that marks it as whole."""
        arrays = [self.file(split) for split in self.fingerprints]
        try:
            for file in (_record(self.folder), *arrays, *map(labels_file, arrays)):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def _obtain(self) -> None:
        if not self.present():
            raise InputError(
                f"{self.name} is not here, and may not be redistributed: {self._command} adds a copy of yours"
            )

    def _read(self, split: str) -> Split:
        added = _added(self.folder)
        assert added is not None, "_obtain came first"
        try:
            content = open_mapped(self.file(split), added.fingerprints[split])
        except InputError as error:
            raise InputError(f"{self._blame(split)}: {error}") from error
        shape = (added.sizes[split], self.channels, self.resolution, self.resolution)
        if content.images.shape != shape:
            raise InputError(f"{self._blame(split)}: it holds {list(content.images.shape)}, {list(shape)} were added")
        return content

    def _whereabouts(self) -> str:
        here = f"stored in {self.folder}" if self.present() else f"not here: {self._command} adds a copy of yours"
        others = [file.parent for file in sorted(self.folder.parent.glob(_record(Path("*")).as_posix()))]
        return "; ".join([here, *(f"also as {other.name}" for other in others if other != self.folder)])

    def _blame(self, split: str) -> str:
        return f"{self.file(split)} is damaged, or was added again meanwhile; if running again does not help, {self._command}"

    @property
    def _command(self) -> str:
        asked = [f"--set {key}={json.dumps(value)}" for key, value in self.asked.items()]
        return f"`{' '.join(['replicate data add', self.registered, 'PATH', *asked])}`"


def brought(
    registered: str,
    classes: tuple[str, ...],
    held_out: int,
    resolution: int,
    preprocessing: Prepared = PREPROCESSING,
    templates: tuple[str, ...] = (),
    title: str = "",
) -> Brought:
    """A set of RGB photographs, any of which may be mirrored, with what is known of its content on this machine.

    More than one class means that the copy has a folder per class, whose names replace `classes` once it is added, and
    make captions by `templates`; then their number is an option. title: tells sets under one registered name apart.
    """
    if not re.fullmatch(r"[\w-]*", title):
        raise InputError(f"dataset {registered!r}: title is letters, digits, _ and -, not {title!r}")
    name = f"{registered}-{title}" if title else registered
    asked: dict[str, object] = {"title": title} if title else {}
    asked |= {"classes": len(classes)} if templates else {}
    asked |= {} if resolution == RESOLUTION else {"resolution": resolution}
    asked |= {} if preprocessing == PREPROCESSING else {"preprocessing": preprocessing}
    added = _added(_folder(name, resolution, preprocessing))
    nobody = hashlib.sha256(f"not added: {name}, {resolution}, {preprocessing}".encode()).hexdigest()
    return Brought(
        name=name,
        channels=3,
        resolution=resolution,
        classes=tuple(added.classes) if added else classes,
        captions=captions([(c.replace("_", " "),) for c in (added.classes if added else classes)], templates),
        flip=True,
        sizes=added.sizes if added else {"train": 0, "test": 0},
        fingerprints=added.fingerprints if added else {"train": nobody, "test": nobody},
        preprocessing=preprocessing,
        held_out=held_out,
        asked=asked,
        registered=registered,
    )


def _folder(name: str, resolution: int, preprocessing: str) -> Path:
    return data_home() / name / f"{resolution}-{preprocessing.replace(',', '').replace(' ', '-')}"


def _record(folder: Path) -> Path:
    return folder / "added.json"


def _added(folder: Path) -> Added | None:
    """What was added there; None for nothing, and for a record that cannot be read, which `add` replaces."""
    try:
        return Added.model_validate_json(_record(folder).read_bytes())
    except (OSError, ValidationError):
        return None
