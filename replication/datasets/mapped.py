"""Splits too large for the memory: `uint8 [N,C,H,W]` in one .npy file each, mapped and never read whole.

content.py's definitions hold with two differences that a set of any size can afford. A record is the label as two bytes,
the most significant first, since ImageNet's do not fit one, and then H*W*C raw bytes. The canonical order is by label
and then by SHA-256 of the record instead of the record itself, so that sorting needs 32 bytes of an example. The
fingerprint is, as there, SHA-256 over all records in canonical order.
"""

import hashlib
import io
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from replication.datasets.content import Split
from replication.files import replaced, write_atomically
from replication.types import InputError


def record(label: int, image: np.ndarray) -> bytes:
    """The bytes that identify an example, `image: uint8 [H,W,C]`."""
    return label.to_bytes(2, "big") + image.tobytes()


def record_digest(label: int, image: np.ndarray) -> bytes:
    """SHA-256 of the record, 32 bytes."""
    return hashlib.sha256(record(label, image)).digest()


def labels_file(file: Path) -> Path:
    """Where the labels of the images in `file` are: int64 [N]."""
    return file.with_name(f"{file.stem}-labels.npy")


def write_mapped(file: Path, labels: list[int], images: Iterable[np.ndarray], shape: tuple[int, int, int]) -> str:
    """Write images, `uint8 [H,W,C]` in canonical order, as one array [N,C,H,W], and their labels; the fingerprint.

    One image is in the memory at a time, and `file` is there only when it is whole. Raises RunError where it cannot be
    written: bytes are written and not mapped, because a full disk kills a process that writes to a map.
    """
    whole = hashlib.sha256()
    with replaced(file) as partial, open(partial, "wb") as out:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(labels), *shape)}
        np.lib.format.write_array_header_1_0(out, header)
        for label, image in zip(labels, images, strict=True):
            whole.update(record(label, image))
            out.write(np.ascontiguousarray(image.transpose(2, 0, 1)).data)
    content = io.BytesIO()
    np.save(content, np.array(labels, np.int64), allow_pickle=False)
    write_atomically(labels_file(file), content.getvalue())
    return whole.hexdigest()


def open_mapped(file: Path, fingerprint: str) -> Split:
    """The split in `file`, whose fingerprint is the one that was recorded: nothing but labels is read here.

    The images are backed by a map that cannot be written to: an operation in place on them ends the process. Raises
    InputError for a file that is missing, cut off or no such array.
    """
    try:
        images = np.load(file, mmap_mode="r", allow_pickle=False)
        labels = np.load(labels_file(file), allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise InputError(f"{file}: it cannot be read ({error})") from error
    if (images.dtype, images.ndim, labels.dtype, labels.shape) != (np.uint8, 4, np.int64, images.shape[:1]):
        raise InputError(f"{file}: {images.dtype} {images.shape} with labels {labels.dtype} {labels.shape} is no split")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return Split(images=torch.from_numpy(images), labels=torch.from_numpy(labels), fingerprint=fingerprint)


def measured_fingerprint(split: Split, done: Iterable[int]) -> str:
    """The fingerprint of what the split holds now, reading all of it; `done` counts the examples, for a bar."""
    whole = hashlib.sha256()
    for i in done:
        whole.update(record(int(split.labels[i]), split.images[i].permute(1, 2, 0).numpy()))
    return whole.hexdigest()
