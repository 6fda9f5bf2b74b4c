"""Copies of a dataset, read into memory: parquet shards, a PNG folder, or the archive that it is published as.

    parquet   PATH/{train,test}-*.parquet, columns `img` = {bytes, path} (lossless PNG or WebP) and `label`
    folder    PATH/{train,test}/{class name or number}/*.png
    archive   PATH, a tar or zip of such a folder or of the published records, never unpacked to disk

Order is whatever the copy has, and whether the content is right is checked by its fingerprint: see dataset.py.
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
Encoded = Iterator[tuple[str, int, bytes, str]]  # split, label, image file, and where it was found

ACCEPTED = (
    "a folder with train-*.parquet and test-*.parquet, a folder with {train,test}/CLASS/*.png, or the published archive"
)


def read_copy(path: Path, dataset: Dataset, records: Records, labels: int) -> dict[str, Examples]:
    """Every split of the copy at `path`. InputError names what is missing, unreadable or of another shape.

    records, labels: what an archive holds, see archived.py.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; {dataset.name} can be added from {ACCEPTED}")
    if path.is_file() and records:
        return _read_records(path, dataset, records, labels)
    found: dict[str, tuple[list[np.ndarray], list[int]]] = {split: ([], []) for split in dataset.fingerprints}
    encoded = _parquet_rows(path, dataset) if any(path.glob("*.parquet")) else _image_files(path, dataset)
    for split, label, content, where in tqdm(encoded, desc=dataset.name, unit="image"):
        found[split][0].append(_decoded(content, where, dataset))
        found[split][1].append(label)
    if not any(images for images, _ in found.values()):
        raise InputError(f"{path} holds no copy of {dataset.name}; it can be added from {ACCEPTED}")
    for split, (images, _) in found.items():
        if not images:
            raise InputError(f"{path / split} holds no images")
    return {split: (np.stack(images), np.array(labels)) for split, (images, labels) in found.items()}


def _parquet_rows(path: Path, dataset: Dataset) -> Encoded:
    from pyarrow import ArrowException, parquet  # slow to import, and seldom needed

    for split in dataset.fingerprints:
        shards = sorted(path.glob(f"{split}-*.parquet"))
        if not shards:
            raise InputError(f"{path} has parquet shards, but no {split}-*.parquet")
        for shard in shards:
            try:
                rows = parquet.read_table(shard, columns=["img", "label"]).to_pylist()
                encoded = [(row["img"]["bytes"] or b"", row["label"]) for row in rows]
            except (ArrowException, OSError, KeyError, TypeError) as error:
                raise InputError(f"{shard}: no readable columns img = {{bytes, path}} and label ({error})") from error
            for i, (content, label) in enumerate(encoded):
                yield split, _known_label(label, f"{shard} row {i}", dataset), content, f"{shard} row {i}"


def _image_files(path: Path, dataset: Dataset) -> Encoded:
    """The PNG files of a folder or an archive; what is not in {train,test}/CLASS/ is passed over."""

    def in_class(name: PurePath) -> bool:
        return len(name.parts) > 2 and name.parts[-3] in dataset.fingerprints and not name.name.startswith(".")

    names = [*dataset.classes, *map(str, range(len(dataset.classes)))]
    files = sorted(file for file in path.glob("*/*/*") if in_class(file))
    members = ((file, file.read_bytes()) for file in files) if path.is_dir() else _members(path, dataset, in_class)
    for name, content in members:
        if name.suffix.lower() != ".png":
            raise InputError(f"{path / name}: only PNG files may stand here, since other formats lose content")
        if (of_class := name.parts[-2]) not in names:
            wrong = unknown(f"{dataset.name} class", of_class, list(dataset.classes))
            raise InputError(f"{path / name.parent}: {wrong}")
        yield name.parts[-3], names.index(of_class) % len(dataset.classes), content, str(path / name)


def _read_records(path: Path, dataset: Dataset, records: Records, labels: int) -> dict[str, Examples]:
    wanted = {name for names in records.values() for name in names}
    members = _members(path, dataset, lambda name: name.name in wanted)
    files = {name.name: content for name, content in tqdm(members, desc=path.name, total=len(wanted), unit="file")}
    if missing := sorted(wanted - files.keys()):
        raise InputError(f"{path} has no {missing[0]}; the binary version of the archive is needed")
    shape = (dataset.channels, dataset.resolution, dataset.resolution)
    record = labels + int(np.prod(shape))
    for name, data in files.items():
        if not data or len(data) % record:
            raise InputError(
                f"{path}: {name} has {len(data):,} bytes, which is no whole number of {record}-byte records"
            )
    examples = {}
    for split, names in records.items():
        content = np.frombuffer(b"".join(files[name] for name in names), np.uint8).reshape(-1, record)
        for label in np.unique(content[:, labels - 1]):
            _known_label(int(label), str(path), dataset)
        examples[split] = content[:, labels:].reshape(-1, *shape).transpose(0, 2, 3, 1), content[:, labels - 1]
    return examples


def _members(path: Path, dataset: Dataset, wanted: Callable[[PurePath], bool]) -> Iterator[tuple[PurePath, bytes]]:
    """The files of a tar or zip whose names are wanted, in the archive's order: one pass, nothing is unpacked to disk."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
                yield from ((PurePath(name), archive.read(name)) for name in names if wanted(PurePath(name)))
            return
        with tarfile.open(path) as tar:
            for member in tar:
                if wanted(PurePath(member.name)) and (file := tar.extractfile(member)):
                    yield PurePath(member.name), file.read()
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, RuntimeError, zlib.error) as error:
        raise InputError(
            f"{path} is no readable archive ({error}); {dataset.name} can be added from {ACCEPTED}"
        ) from error


def _decoded(content: bytes, where: str, dataset: Dataset) -> np.ndarray:
    """The pixels `uint8 [H,W,C]` of a PNG or WebP file."""
    side = dataset.resolution
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "WEBP")) as image:
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
