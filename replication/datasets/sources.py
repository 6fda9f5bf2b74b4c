"""Local copies of a dataset, read into memory: parquet shards, a PNG folder, or CIFAR-10's binary archive.

    parquet   PATH/{train,test}-*.parquet, columns `img` = {bytes, path} (lossless PNG or WebP) and `label`
    folder    PATH/{train,test}/{class name or number}/*.png
    archive   PATH, a tar.gz with data_batch_1.bin .. data_batch_5.bin and test_batch.bin, never unpacked to disk

Order is whatever the copy has, and whether the content is right is for the caller: see content.py.
"""

import io
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from replication.datasets.dataset import Dataset
from replication.registry import unknown
from replication.types import InputError

Examples = tuple[np.ndarray, np.ndarray]  # images uint8 [N,H,W,C], labels [N] in 0..K-1

BATCHES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}

ACCEPTED = (
    "a folder with train-*.parquet and test-*.parquet, a folder with {train,test}/CLASS/*.png, or the binary tar.gz"
)


def read_copy(path: Path, dataset: Dataset) -> dict[str, Examples]:
    """Every split of the copy at `path`. InputError names what is missing, unreadable or of another shape."""
    if not path.exists():
        raise InputError(f"{path} does not exist; {dataset.name} can be added from {ACCEPTED}")
    if path.is_file():
        return _read_archive(path, dataset)
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
    files = [(file, _folder_label(folder, dataset)) for folder in folders for file in sorted(folder.glob("[!.]*"))]
    images, labels = [], []
    for file, label in tqdm(files, desc=f"{dataset.name} {split}", unit="image"):
        if file.suffix.lower() != ".png":
            raise InputError(f"{file}: only PNG files may stand here, since other formats lose content")
        images.append(_decode(file, str(file), dataset))
        labels.append(label)
    return _stacked(images, labels, path / split)


def _read_archive(path: Path, dataset: Dataset) -> dict[str, Examples]:
    """One pass over the archive; a record is a label byte and then C*H*W bytes, channel by channel."""
    members: dict[str, bytes] = {}
    wanted = [name for names in BATCHES.values() for name in names]
    try:
        with tarfile.open(path, "r:gz") as archive, tqdm(total=len(wanted), desc=path.name, unit="batch") as bar:
            for member in archive:
                if (name := Path(member.name).name) in wanted and (file := archive.extractfile(member)):
                    members[name] = file.read()
                    bar.update()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is no readable tar.gz ({error}); {dataset.name} can be added from {ACCEPTED}"
        ) from error
    if missing := [name for name in wanted if name not in members]:
        raise InputError(f"{path} has no {missing[0]}; the binary version of the archive is needed")
    return {
        split: _read_batches({name: members[name] for name in names}, path, dataset) for split, names in BATCHES.items()
    }


def _read_batches(batches: dict[str, bytes], path: Path, dataset: Dataset) -> Examples:
    shape = (dataset.channels, dataset.resolution, dataset.resolution)
    record = 1 + int(np.prod(shape))
    for name, data in batches.items():
        if not data or len(data) % record:
            raise InputError(
                f"{path}: {name} has {len(data):,} bytes, which is no whole number of {record}-byte records"
            )
    records = np.frombuffer(b"".join(batches.values()), np.uint8).reshape(-1, record)
    for label in np.unique(records[:, 0]):
        _known_label(int(label), str(path), dataset)
    return records[:, 1:].reshape(-1, *shape).transpose(0, 2, 3, 1), records[:, 0]


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


def _folder_label(folder: Path, dataset: Dataset) -> int:
    """The label that a class folder stands for, by its name or its number."""
    names = [*dataset.classes, *map(str, range(len(dataset.classes)))]
    if folder.name not in names:
        raise InputError(f"{folder}: {unknown(f'{dataset.name} class', folder.name, list(dataset.classes))}")
    return names.index(folder.name) % len(dataset.classes)


def _stacked(images: list[np.ndarray], labels: list[int], where: Path) -> Examples:
    if not images:
        raise InputError(f"{where} holds no images")
    return np.stack(images), np.array(labels)
