"""A dataset that is published as one archive and fits in the memory: downloaded once, or added from a local copy.

    parquet   PATH/{train,test}-*.parquet, columns `img` = {bytes, path} (lossless PNG or WebP) and `label`
    folder    PATH/{train,test}/{class name or number}/*.png
    archive   PATH, a tar or zip of such a folder or of the published records, never unpacked to disk

It is kept under `$REPLICATION_DATA` as one safetensors file per split. To add one, write its file with an `Archived` in
it; while the fingerprints are not known, `replicate data add NAME ARCHIVE` refuses what it reads and states them.
"""

import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from os import PathLike
from pathlib import Path, PurePath

import numpy as np
import safetensors.torch
from safetensors import SafetensorError

from replication.datasets.dataset import Dataset, Split
from replication.datasets.photographs import split_of
from replication.datasets.pictures import DAMAGE, MOST_BYTES, is_hidden, opened_picture
from replication.download import Remote, data_home, download
from replication.files import locked, write_atomically
from replication.progress import Bar
from replication.registry import unknown
from replication.types import InputError

Examples = tuple[np.ndarray, np.ndarray]  # images uint8 [N,H,W,C], labels [N] in 0..K-1
Encoded = Iterator[tuple[str, int, bytes, str]]  # split, label, image file, and where it was found

ACCEPTED = (
    "a folder with train-*.parquet and test-*.parquet, a folder with {train,test}/CLASS/*.png, or the published archive"
)


@dataclass(frozen=True)
class Archived(Dataset):
    """`remote` is a tar or zip of image files or of binary records.

    records: split -> the names of its files in an archive of records, each `labels` bytes, of which the last is the
    label, and then C*H*W bytes, channel by channel. Without them the archive holds {train,test}/CLASS/*.png.
    """

    remote: Remote
    records: Mapping[str, tuple[str, ...]] = field(default_factory=dict, kw_only=True)
    labels: int = field(default=1, kw_only=True)  # label bytes of a record: CIFAR-100 has a coarse one before the fine

    @property
    def folder(self) -> Path:
        return data_home() / self.name

    def file(self, split: str) -> Path:
        """The split's safetensors: `images: uint8 [N,C,H,W]`, `labels: int64 [N]`, in canonical order."""
        return self.folder / f"{split}.safetensors"

    def present(self) -> bool:
        return all(self.file(split).exists() for split in self.fingerprints)

    def add(self, path: str | PathLike[str]) -> None:
        """Import from parquet shards, a PNG folder or the published archive; raises RunError where it can't be stored."""
        splits = self._import(Path(path))
        with locked(self.folder / ".lock", f"dataset {self.name}"):
            self._store(splits)

    def _import(self, path: Path) -> dict[str, Split]:
        """The splits of a copy, all of which are checked before any is stored."""
        examples = read_copy(path, self)
        splits = {split: Split.of(images, labels) for split, (images, labels) in examples.items()}
        for split, content in splits.items():
            self._require(split, content, f"{path} is refused and nothing was stored")
        return splits

    def _store(self, splits: Mapping[str, Split]) -> None:
        for split, content in splits.items():
            tensors = {"images": content.images, "labels": content.labels}
            write_atomically(self.file(split), safetensors.torch.save(tensors))

    def _read(self, split: str) -> Split:
        if not self.present():
            with locked(self.folder / ".lock", f"dataset {self.name}"):
                if not self.present():  # another process may have been faster
                    archive = self.folder / self.remote.filename
                    download(self.remote, archive, f"a copy on disk will do: {self._command}")
                    self._store(self._import(archive))
                    archive.unlink()
        try:
            return _kept(self.file(split), self.file(split).stat().st_mtime_ns)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise InputError(f"{self._blame(split)}: it cannot be read ({error})") from error

    def _whereabouts(self) -> str:
        if self.present():
            return f"stored in {self.folder}"
        return f"not here: downloaded on first use ({self.remote.megabytes}), or {self._command}"

    def _blame(self, split: str) -> str:
        return f"{self.file(split)} is corrupt; delete it to download it again, or repair it with {self._command}"

    @property
    def _command(self) -> str:
        return f"`replicate data add {self.name} PATH`"


@lru_cache(maxsize=2)  # train and test, which every cell asks for: sorting and hashing them takes seconds
def _kept(file: Path, _: int) -> Split:
    """The split in a file as it was at that time."""
    tensors = safetensors.torch.load_file(file)
    images, labels = tensors["images"].numpy(), tensors["labels"].numpy()
    return Split.of(images.transpose(0, 2, 3, 1), labels)


def read_copy(path: Path, dataset: Archived) -> dict[str, Examples]:
    """Every split of a local copy, in its order and unchecked. InputError names what is missing or of another shape."""
    if not path.exists():
        raise InputError(f"{path} does not exist; {dataset.name} can be added from {ACCEPTED}")
    if path.is_file() and dataset.records:
        return _read_records(path, dataset)
    found: dict[str, tuple[list[np.ndarray], list[int]]] = {split: ([], []) for split in dataset.fingerprints}
    encoded = _parquet_rows(path, dataset) if any(path.glob("*.parquet")) else _image_files(path, dataset)
    with Bar(None, dataset.name, "image") as shown:
        for split, label, content, where in encoded:
            if sum(len(images) for images, _ in found.values()) == sum(dataset.sizes.values()):
                raise InputError(
                    f"{where}: {dataset.name} has {sum(dataset.sizes.values()):,} images, and here are more"
                )
            found[split][0].append(_decoded(content, where, dataset))
            found[split][1].append(label)
            shown.update()
    if not any(images for images, _ in found.values()):
        raise InputError(f"{path} holds no copy of {dataset.name}; it can be added from {ACCEPTED}")
    for split, (images, _) in found.items():
        if not images:
            raise InputError(f"{path / split} holds no images")
    return {split: (np.stack(images), np.array(labels)) for split, (images, labels) in found.items()}


def _parquet_rows(path: Path, dataset: Archived) -> Encoded:
    for split in dataset.fingerprints:
        shards = sorted(path.glob(f"{split}-*.parquet"))
        if not shards:
            raise InputError(f"{path} has parquet shards, but no {split}-*.parquet")
        for shard in shards:
            for i, (content, label) in enumerate(_rows(shard)):
                yield split, _known_label(label, f"{shard} row {i}", dataset), content, f"{shard} row {i}"


def _rows(shard: Path) -> Iterator[tuple[bytes, object]]:
    """Image file and label of each row, read a few rows at a time: a shard may be packed a thousand times smaller."""
    from pyarrow import ArrowException, parquet  # slow to import, and seldom needed

    try:
        with parquet.ParquetFile(shard) as file:
            for batch in file.iter_batches(256, columns=["img", "label"]):
                for row in batch.to_pylist():
                    yield bytes(row["img"]["bytes"] or b""), row["label"]
    except (ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{shard}: no readable columns img = {{bytes, path}} and label ({error})") from error


def _image_files(path: Path, dataset: Archived) -> Encoded:
    """The PNG files of a folder or an archive; what is not in {train,test}/CLASS/ is passed over."""

    def in_class(name: PurePath) -> bool:
        parts = name.parts[-3:]
        return len(parts) == 3 and split_of(parts[0]) in dataset.fingerprints and not is_hidden("/".join(parts))

    names = [*dataset.classes, *map(str, range(len(dataset.classes)))]
    files = sorted(file for file in path.glob("*/*/*") if in_class(file) and file.is_file())
    in_folder = ((file.relative_to(path), file.read_bytes()) for file in files)
    for name, content in in_folder if path.is_dir() else _members(path, dataset, in_class):
        if name.suffix.lower() != ".png":
            raise InputError(f"{path / name}: only PNG files may stand here, since other formats lose content")
        if (of_class := name.parts[-2]) not in names:
            wrong = unknown(f"{dataset.name} class", of_class, list(dataset.classes))
            raise InputError(f"{path}: {name.parent}: {wrong}")
        yield str(split_of(name.parts[-3])), names.index(of_class) % len(dataset.classes), content, str(path / name)


def _read_records(path: Path, dataset: Archived) -> dict[str, Examples]:
    wanted = {name for names in dataset.records.values() for name in names}
    members = _members(path, dataset, lambda name: name.name in wanted)
    files = {name.name: content for name, content in members}
    if missing := sorted(wanted - files.keys()):
        raise InputError(f"{path} has no {missing[0]}; the binary version of the archive is needed")
    labels = dataset.labels
    record = labels + int(np.prod(dataset.shape))
    for name, data in files.items():
        if not data or len(data) % record:
            raise InputError(
                f"{path}: {name} has {len(data):,} bytes, which is no whole number of {record}-byte records"
            )
    examples = {}
    for split, names in dataset.records.items():
        content = np.frombuffer(b"".join(files[name] for name in names), np.uint8).reshape(-1, record)
        for label in np.unique(content[:, labels - 1]):
            _known_label(int(label), str(path), dataset)
        examples[split] = content[:, labels:].reshape(-1, *dataset.shape).transpose(0, 2, 3, 1), content[:, labels - 1]
    return examples


def _members(path: Path, dataset: Archived, wanted: Callable[[PurePath], bool]) -> Iterator[tuple[PurePath, bytes]]:
    """The files of a tar or zip whose names are wanted, in the archive's order: one pass, nothing is unpacked to disk."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    if wanted(name := PurePath(entry.filename)) and not entry.is_dir():
                        _refuse_large(path, entry.filename, entry.file_size)
                        yield name, archive.read(entry)
            return
        with tarfile.open(path) as tar:
            for member in tar:
                if wanted(name := PurePath(member.name)) and not member.isdir():
                    _refuse_large(path, member.name, member.size)
                    file = tar.extractfile(member) if member.isfile() else None
                    if file is None:
                        raise InputError(f"{path}: {member.name} is no plain file but a link or a device")
                    yield name, file.read()
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, *DAMAGE) as error:
        raise InputError(
            f"{path} is no readable archive ({error}); {dataset.name} can be added from {ACCEPTED}"
        ) from error


def _refuse_large(path: Path, member: str, size: int) -> None:
    """Raises InputError before the memory is taken that a member's header asks for."""
    if size > MOST_BYTES:
        raise InputError(f"{path}: {member} has {size:,} bytes, more than any file of a dataset")


def _decoded(content: bytes, where: str, dataset: Archived) -> np.ndarray:
    """The pixels `uint8 [H,W,C]` of a PNG or WebP file."""
    side = dataset.resolution
    with opened_picture(io.BytesIO(content), where, ("PNG", "WEBP")) as image:
        if image.size != (side, side):
            width, height = image.size
            raise InputError(f"{where}: the image is {width}x{height}, {dataset.name} has {side}x{side}")
        pixels = np.asarray(image.convert("RGB" if dataset.channels == 3 else "L"))
    return pixels.reshape(side, side, dataset.channels)


def _known_label(label: object, where: str, dataset: Archived) -> int:
    if not isinstance(label, int) or not 0 <= label < len(dataset.classes):
        raise InputError(f"{where}: label {label!r} is none of 0..{len(dataset.classes) - 1}")
    return label
