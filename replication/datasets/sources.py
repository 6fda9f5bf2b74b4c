"""Copies of a dataset, read into memory: parquet shards, a PNG folder, or the archive that it is published as.

    parquet   PATH/{train,test}-*.parquet, columns `img` = {bytes, path} (lossless PNG or WebP) and `label`
    folder    PATH/{train,test}/{class name or number}/*.png
    archive   PATH, a tar or zip of such a folder or of the published records, never unpacked to disk

Order is whatever the copy has, and whether the content is right is for the caller: see content.py.
"""

import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath

import numpy as np
from PIL import Image
from tqdm import tqdm

from replication.datasets.dataset import Dataset
from replication.registry import unknown
from replication.types import InputError

Examples = tuple[np.ndarray, np.ndarray]  # images uint8 [N,H,W,C], labels [N] in 0..K-1

Records = Mapping[str, tuple[str, ...]]  # split -> names of files

ACCEPTED = (
    "a folder with train-*.parquet and test-*.parquet, a folder with {train,test}/CLASS/*.png, or the published archive"
)


def read_copy(path: Path, dataset: Dataset, records: Records, labels: int) -> dict[str, Examples]:
    """Every split of the copy at `path`. InputError names what is missing, unreadable or of another shape.

    records, labels: what an archive holds, see archived.py.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; {dataset.name} can be added from {ACCEPTED}")
    if path.is_file():
        return _read_records(path, dataset, records, labels) if records else _read_images(path, dataset)
    read: Callable[[Path, str, Dataset], Examples]
    if any(path.glob("*.parquet")):
        read = _read_parquet
    elif any((path / split).is_dir() for split in dataset.fingerprints):
        read = _read_folder
    else:
        raise InputError(f"{path} holds no copy of {dataset.name}; it can be added from {ACCEPTED}")
    return {split: read(path, split, dataset) for split in dataset.fingerprints}


def _read_parquet(path: Path, split: str, dataset: Dataset) -> Examples:
    from pyarrow import ArrowException, parquet  # slow to import, and seldom needed

    images, labels = [], []
    shards = sorted(path.glob(f"{split}-*.parquet"))
    if not shards:
        raise InputError(f"{path} has parquet shards, but no {split}-*.parquet")
    for shard in tqdm(shards, desc=f"{dataset.name} {split}", unit="shard"):
        try:
            rows = parquet.read_table(shard, columns=["img", "label"]).to_pylist()
            encoded = [(io.BytesIO(row["img"]["bytes"]), row["label"]) for row in rows]
        except (ArrowException, OSError, KeyError, TypeError) as error:
            raise InputError(f"{shard}: no readable columns img = {{bytes, path}} and label ({error})") from error
        for i, (file, label) in enumerate(encoded):
            images.append(_decode(file, f"{shard} row {i}", dataset))
            labels.append(_known_label(label, f"{shard} row {i}", dataset))
    return _stacked(images, labels, shards[0])


def _read_folder(path: Path, split: str, dataset: Dataset) -> Examples:
    folders = sorted(folder for folder in (path / split).glob("[!.]*") if folder.is_dir())
    files = [(file, _class_label(folder, dataset)) for folder in folders for file in sorted(folder.glob("[!.]*"))]
    images, labels = [], []
    for file, label in tqdm(files, desc=f"{dataset.name} {split}", unit="image"):
        if file.suffix.lower() != ".png":
            raise InputError(f"{file}: only PNG files may stand here, since other formats lose content")
        images.append(_decode(file, str(file), dataset))
        labels.append(label)
    return _stacked(images, labels, path / split)


def _read_records(path: Path, dataset: Dataset, records: Records, labels: int) -> dict[str, Examples]:
    wanted = [name for names in records.values() for name in names]
    members = {}
    with tqdm(total=len(wanted), desc=path.name, unit="file") as bar:
        for name, content in _members(path, dataset, lambda name: name.name in wanted):
            members[name.name] = content
            bar.update()
    if missing := [name for name in wanted if name not in members]:
        raise InputError(f"{path} has no {missing[0]}; the binary version of the archive is needed")
    return {
        split: _records({name: members[name] for name in names}, path, dataset, labels)
        for split, names in records.items()
    }


def _records(files: dict[str, bytes], path: Path, dataset: Dataset, labels: int) -> Examples:
    shape = (dataset.channels, dataset.resolution, dataset.resolution)
    record = labels + int(np.prod(shape))
    for name, data in files.items():
        if not data or len(data) % record:
            raise InputError(
                f"{path}: {name} has {len(data):,} bytes, which is no whole number of {record}-byte records"
            )
    content = np.frombuffer(b"".join(files.values()), np.uint8).reshape(-1, record)
    for label in np.unique(content[:, labels - 1]):
        _known_label(int(label), str(path), dataset)
    return content[:, labels:].reshape(-1, *shape).transpose(0, 2, 3, 1), content[:, labels - 1]


def _read_images(path: Path, dataset: Dataset) -> dict[str, Examples]:
    images: dict[str, list[np.ndarray]] = {split: [] for split in dataset.fingerprints}
    labels: dict[str, list[int]] = {split: [] for split in dataset.fingerprints}
    for name, content in _members(path, dataset, lambda name: name.suffix.lower() == ".png"):
        where = f"{path}: {name}"
        if len(name.parts) < 3 or (split := name.parts[-3]) not in images:
            raise InputError(f"{where} is not in {{{','.join(images)}}}/CLASS/")
        images[split].append(_decode(io.BytesIO(content), where, dataset))
        labels[split].append(_class_label(name.parent, dataset))
    return {split: _stacked(images[split], labels[split], path / split) for split in images}


def _members(path: Path, dataset: Dataset, wanted: Callable[[PurePath], bool]) -> Iterator[tuple[PurePath, bytes]]:
    """The files of a tar or zip whose names are wanted, in the archive's order: one pass, nothing is unpacked to disk."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from ((PurePath(n), archive.read(n)) for n in archive.namelist() if wanted(PurePath(n)))
            return
        with tarfile.open(path) as tar:
            for member in tar:
                if wanted(PurePath(member.name)) and (file := tar.extractfile(member)):
                    yield PurePath(member.name), file.read()
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, RuntimeError, zlib.error) as error:
        raise InputError(
            f"{path} is no readable archive ({error}); {dataset.name} can be added from {ACCEPTED}"
        ) from error


def _decode(file: Path | io.BytesIO, where: str, dataset: Dataset) -> np.ndarray:
    """The pixels `uint8 [H,W,C]` of a PNG or WebP file."""
    side = dataset.resolution
    try:
        with Image.open(file, formats=("PNG", "WEBP")) as image:
            if image.size != (side, side):  # asked before decoding: a size costs nothing, its pixels may
                width, height = image.size
                raise InputError(f"{where}: the image is {width}x{height}, {dataset.name} has {side}x{side}")
            pixels = np.asarray(image.convert("RGB" if dataset.channels == 3 else "L"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{where}: not a readable PNG or WebP image") from error
    return pixels.reshape(side, side, dataset.channels)


def _known_label(label: object, where: str, dataset: Dataset) -> int:
    if not isinstance(label, int) or not 0 <= label < len(dataset.classes):
        raise InputError(f"{where}: label {label!r} is none of 0..{len(dataset.classes) - 1}")
    return label


def _class_label(folder: PurePath, dataset: Dataset) -> int:
    """The label that a class folder stands for, by its name or its number."""
    names = [*dataset.classes, *map(str, range(len(dataset.classes)))]
    if folder.name not in names:
        raise InputError(f"{folder}: {unknown(f'{dataset.name} class', folder.name, list(dataset.classes))}")
    return names.index(folder.name) % len(dataset.classes)


def _stacked(images: list[np.ndarray], labels: list[int], where: Path) -> Examples:
    if not images:
        raise InputError(f"{where} holds no images")
    return np.stack(images), np.array(labels)
