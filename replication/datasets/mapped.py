"""Splits too large for the memory: `uint8 [N,C,H,W]` in one .npy file each, mapped and never read whole.

dataset.py's definitions hold with two differences that a set of any size can afford. A record is the label as two bytes,
the most significant first, since ImageNet's do not fit one, and then H*W*C raw bytes. The canonical order is by label
and then by SHA-256 of the record instead of the record itself, so that sorting needs 32 bytes of an example. The
fingerprint is, as there, SHA-256 over all records in canonical order.

Each file is decoded twice, and no image is kept in between: once for the digests, and once to be written in their order.
So nothing lies on the disk twice, which for 250 GB matters more than an hour of decoding.
"""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from replication.datasets.dataset import Split
from replication.datasets.photographs import Photograph
from replication.files import replaced
from replication.progress import bar
from replication.types import InputError

WINDOW = 256  # images that are decoded ahead of the one that is written

Decode = Callable[[Photograph], np.ndarray]  # uint8 [H,W,C]
A = TypeVar("A")
B = TypeVar("B")


def in_canonical_order(photographs: Sequence[Photograph], decode: Decode, what: str) -> list[Photograph]:
    """With their digests; `what` heads the bar. Raises InputError naming the first file that cannot be used."""

    def digested(photograph: Photograph) -> Photograph:
        record = _record(photograph.label, decode(photograph))
        return photograph._replace(digest=hashlib.sha256(record).digest())

    return sorted(_each(digested, photographs, f"{what}: reading"))


def store(ordered: Sequence[Photograph], decode: Decode, file: Path, shape: tuple[int, ...], what: str) -> str:
    """Write the photographs as one array [N,C,H,W], shape = (C,H,W); the fingerprint.

    `file` is there only when it is whole. Raises InputError for a photograph that changed since its digest was taken,
    RunError where nothing can be written: bytes are written and not mapped, because a full disk kills a process that
    writes to a map.
    """
    whole = hashlib.sha256()
    with replaced(file) as partial, open(partial, "wb") as out:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(ordered), *shape)}
        np.lib.format.write_array_header_1_0(out, header)
        images = _each(decode, ordered, f"{what}: storing")
        for photograph, image in zip(ordered, images, strict=True):
            record = _record(photograph.label, image)
            if hashlib.sha256(record).digest() != photograph.digest:
                raise InputError(f"{photograph.file} changed while it was being added")
            whole.update(record)
            out.write(np.ascontiguousarray(image.transpose(2, 0, 1)).data)
    return whole.hexdigest()


def open_mapped(file: Path, counts: Sequence[int], shape: tuple[int, ...], fingerprint: str) -> Split:
    """The split in `file`, counts[k] images of label k, whose fingerprint was recorded: nothing is read here.

    The images are backed by a map that cannot be written to: an operation in place on them ends the process. Raises
    InputError for a file that is missing, cut off or no such array.
    """
    try:
        images = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise InputError(f"it cannot be read ({error})") from error
    labels = np.repeat(np.arange(len(counts)), counts)
    if (images.dtype, images.shape) != (np.uint8, (len(labels), *shape)):
        raise InputError(f"it holds {images.dtype} {images.shape}, uint8 {(len(labels), *shape)} were added")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return Split(images=torch.from_numpy(images), labels=torch.from_numpy(labels), fingerprint=fingerprint)


def measured_fingerprint(split: Split, what: str) -> str:
    """The fingerprint of what the split holds now, reading all of it."""

    def record(i: int) -> bytes:
        return _record(int(split.labels[i]), split.images[i].permute(1, 2, 0).numpy())

    whole = hashlib.sha256()
    for content in _each(record, range(len(split.labels)), what):
        whole.update(content)
    return whole.hexdigest()


def _record(label: int, image: np.ndarray) -> bytes:
    """The bytes that identify an example, `image: uint8 [H,W,C]`."""
    return label.to_bytes(2, "big") + image.tobytes()


def _each(work: Callable[[A], B], items: Sequence[A], what: str) -> Iterator[B]:
    """`work` of every item in order, with a bar: Pillow decodes and hashlib hashes without the interpreter."""
    with bar(len(items), what, "image") as shown, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for start in range(0, len(items), WINDOW):
            for done in pool.map(work, items[start : start + WINDOW]):
                yield done
                shown.update()
