"""From photographs to splits in canonical order: each file is decoded twice, and no image is kept in between.

The first pass computes the digest of every example, by which they are sorted; the second writes them in that
order. So nothing lies on the disk twice, which for 250 GB matters more than an hour of decoding.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from replication.datasets.mapped import record_digest, write_mapped
from replication.datasets.photographs import Photograph
from replication.progress import bar
from replication.types import InputError

WINDOW = 256  # images that are decoded ahead of the one that is written

Decode = Callable[[Photograph], np.ndarray]  # uint8 [H,W,C]
A = TypeVar("A")
B = TypeVar("B")


class Known(NamedTuple):
    """A photograph whose content has been seen; they sort into canonical order."""

    label: int
    digest: bytes
    photograph: Photograph


def in_canonical_order(photographs: Sequence[Photograph], decode: Decode, what: str) -> list[Known]:
    """Decode every file once; `what` heads the bar. Raises InputError naming the first that cannot be used."""

    def known(photograph: Photograph) -> Known:
        return Known(photograph.label, record_digest(photograph.label, decode(photograph)), photograph)

    return sorted(counted(_in_threads(known, photographs), len(photographs), f"{what}: reading"))


def held_out(whole: Sequence[Known], every: int) -> dict[str, list[Known]]:
    """The test split is every `every`-th example from the first on, the training split the others."""
    return {"train": [k for i, k in enumerate(whole) if i % every], "test": list(whole[::every])}


def store(known: Sequence[Known], decode: Decode, file: Path, shape: tuple[int, int, int], what: str) -> str:
    """Decode again, write, and return the fingerprint; raises InputError for a file that changed since, RunError."""

    def again(k: Known) -> np.ndarray:
        image = decode(k.photograph)
        if record_digest(k.label, image) != k.digest:
            raise InputError(f"{k.photograph.file} changed while it was being added")
        return image

    images = counted(_in_threads(again, known), len(known), f"{what}: storing")
    return write_mapped(file, [k.label for k in known], images, shape)


def counted(items: Iterable[A], total: int, what: str) -> Iterator[A]:
    """The same items, with a bar."""
    with bar(total, what, "image") as shown:
        for item in items:
            yield item
            shown.update()


def _in_threads(work: Callable[[A], B], items: Sequence[A]) -> Iterator[B]:
    """`work` of every item in order, a window at a time: Pillow decodes and hashlib hashes without the interpreter."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for start in range(0, len(items), WINDOW):
            yield from pool.map(work, items[start : start + WINDOW])
