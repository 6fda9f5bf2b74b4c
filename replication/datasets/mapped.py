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

from replication.datasets.dataset import Split, Whole
from replication.datasets.photographs import Photograph
from replication.files import replaced
from replication.progress import Bar
from replication.types import InputError

WINDOW = 256  # images that are decoded ahead of the one that is written

Decode = Callable[[Photograph], np.ndarray]  # uint8 [H,W,C]
A = TypeVar("A")
B = TypeVar("B")


def in_canonical_order(photographs: Sequence[Photograph], decode: Decode, what: str) -> list[Photograph]:
    """With digests and sizes; `what` heads the bar. Raises InputError naming the first file that cannot be used."""

    def digested(photograph: Photograph) -> Photograph:
        image = decode(photograph)
        digest = hashlib.sha256(_record(photograph.label, image)).digest()
        return photograph._replace(digest=digest, size=image.shape[:2])

    return sorted(each(digested, photographs, f"{what}: reading"))


def store(ordered: Sequence[Photograph], decode: Decode, file: Path, shape: tuple[int, ...], what: str) -> str:
    """Write the photographs as one array of that shape, [N,C,H,W] or the bytes of all [N]; the fingerprint.

    `file` is there only when it is whole. Raises InputError for a photograph that changed since its digest was taken,
    RunError where nothing can be written: bytes are written and not mapped, because a full disk kills a process that
    writes to a map.
    """
    whole = hashlib.sha256()
    with replaced(file) as partial, open(partial, "wb") as out:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        images = each(decode, ordered, f"{what}: storing")
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
    labels = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
    return Split(images=_mapped(file, (len(labels), *shape)), labels=labels, fingerprint=fingerprint)


def open_whole(file: Path, sizes: Path, counts: Sequence[int], fingerprint: str) -> Whole:
    """The photographs in `file`, whose heights and widths are in `sizes`, likewise."""
    labels = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
    try:
        shapes = torch.from_numpy(np.load(sizes, allow_pickle=False))
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise InputError(f"{sizes.name} cannot be read ({error})") from error
    if shapes.shape != (len(labels), 2):
        raise InputError(f"{sizes.name} holds {list(shapes.shape)}, {[len(labels), 2]} were added")
    return Whole(_mapped(file, (int(3 * shapes.prod(1).sum()),)), shapes, labels, fingerprint)


def _mapped(file: Path, shape: tuple[int, ...]) -> torch.Tensor:
    try:
        images = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise InputError(f"it cannot be read ({error})") from error
    if (images.dtype, images.shape) != (np.uint8, shape):
        raise InputError(f"it holds {images.dtype} {images.shape}, uint8 {shape} were added")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images)


def measured_fingerprint(labels: torch.Tensor, image: Callable[[int], torch.Tensor], what: str) -> str:
    """The fingerprint of what a split holds now, reading all of it: `image` gives the i-th, uint8 [3,h,w]."""

    def record(i: int) -> bytes:
        return _record(int(labels[i]), image(i).permute(1, 2, 0).numpy())

    whole = hashlib.sha256()
    for content in each(record, range(len(labels)), what):
        whole.update(content)
    return whole.hexdigest()


def _record(label: int, image: np.ndarray) -> bytes:
    """The bytes that identify an example, `image: uint8 [H,W,C]`; of one that is no square, its size too."""
    height, width = image.shape[:2]
    size = b"" if height == width else height.to_bytes(4, "big") + width.to_bytes(4, "big")
    return label.to_bytes(2, "big") + size + image.tobytes()


def each(work: Callable[[A], B], items: Sequence[A], what: str) -> Iterator[B]:
    """`work` of every item in order, with a bar: Pillow decodes and hashlib hashes without the interpreter."""
    with Bar(len(items), what, "image") as shown, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for start in range(0, len(items), WINDOW):
            for done in pool.map(work, items[start : start + WINDOW]):
                yield done
                shown.update()
