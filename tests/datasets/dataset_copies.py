"""Local copies of one set of examples in the three accepted forms, and the fingerprint's definition once more.

Examples are a list of (label, image), `image: uint8 [32,32,3]`, per split.
"""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Examples = dict[str, list[tuple[int, np.ndarray]]]


def expected_fingerprint(examples: list[tuple[int, np.ndarray]]) -> str:
    """Word for word: SHA-256 over `label byte + HWC bytes` of every example in sorted order."""
    return hashlib.sha256(b"".join(sorted(bytes([label]) + image.tobytes() for label, image in examples))).hexdigest()


def encoded(image: np.ndarray, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, lossless=True)
    return buffer.getvalue()


def write_parquet(folder: Path, examples: Examples) -> Path:
    """Two shards per split, images alternately PNG and lossless WebP."""
    folder.mkdir()
    for split, pairs in examples.items():
        rows = [
            {"img": {"bytes": encoded(image, ("PNG", "WEBP")[i % 2]), "path": f"{i}.png"}, "label": label}
            for i, (label, image) in enumerate(pairs)
        ]
        for k, shard in enumerate((rows[: len(rows) // 2], rows[len(rows) // 2 :])):
            pq.write_table(pa.Table.from_pylist(shard), folder / f"{split}-{k:05d}-of-00002.parquet")
    return folder


def write_folder(folder: Path, examples: Examples, classes: tuple[str, ...]) -> Path:
    """Even labels by the class's name, odd ones by their number."""
    for split, pairs in examples.items():
        for i, (label, image) in enumerate(pairs):
            place = folder / split / (str(label) if label % 2 else classes[label])
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{i}.png").write_bytes(encoded(image, "PNG"))
    return folder


def write_archive(file: Path, examples: Examples) -> Path:
    """The binary archive: five training batches and one for test, each record a label byte and 3072 bytes CHW."""
    batches = {f"data_batch_{k + 1}": examples["train"][k::5] for k in range(5)} | {"test_batch": examples["test"]}
    with tarfile.open(file, "w:gz", compresslevel=1) as archive:
        for name, pairs in batches.items():
            data = b"".join(bytes([label]) + image.transpose(2, 0, 1).tobytes() for label, image in pairs)
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file
