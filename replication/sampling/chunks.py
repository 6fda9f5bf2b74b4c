"""The stored images of one seed: chunk files in a folder, which several processes fill together.

A chunk is one batch of images in one atomic file that is named after them. Who draws one holds the lock file of its range
until the chunk is there: others draw what is left, and what a killed process was drawing is free again.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from replication.checkpoint import load_checkpoint, load_metadata, save_checkpoint
from replication.files import Damaged, Held, locked, set_aside
from replication.metrics.timing import OtherWork
from replication.types import InputError

_NAME = re.compile(r"\.?(\d{7,})-(\d{7,})\.(?:safetensors|claim)")  # of a chunk's file, and of its lock


class Seconds(NamedTuple):
    """What images took: drawing x_0, and decoding it to pixels where it is a latent; and what that hangs on, the device aside.

    batch: the size of the chunks that were drawn alike; threads: of the CPU, None for chunks from before they were kept;
    floor: seconds per image of a bare evaluation in the process that drew them, None where it was not measured. flags: of
    PyTorch, and companions, as metrics/timing.py has them; other_work: beside the drawing, None where it was not seen.
    """

    sampling: float
    decoding: float
    batch: int = 0
    threads: int | None = None
    floor: float | None = None
    flags: str | None = None
    other_work: OtherWork | None = None
    companions: str = "none"

    @property
    def disturbed(self) -> bool:
        """Whether other work is in them, as far as it was seen."""
        return self.other_work is not None and self.other_work.disturbs

    @property
    def image(self) -> float:
        """Until there are pixels."""
        return self.sampling + self.decoding

    def header(self) -> dict[str, Any]:
        """For the header of a chunk whose images took them in all."""
        taken = {name: value for name, value in self._asdict().items() if name not in ("sampling", "other_work")}
        return {"seconds": self.sampling, **taken, "other_work": self.other_work and self.other_work._asdict()}

    @classmethod
    def per_image(cls, made: Mapping[str, Any], n: int) -> "Seconds":
        """From the header of a chunk of n images."""
        known = {name: made[name] for name in ("threads", "floor", "flags", "companions") if name in made}
        other_work = OtherWork(**made["other_work"]) if made.get("other_work") else None
        taken = made["seconds"] / n, made.get("decoding", 0.0) / n, made.get("batch", n)
        return cls(*taken, other_work=other_work, **known)


@dataclass(frozen=True)
class Chunk:
    """Images start..stop-1 of a set, in a file of `folder` that is named after them."""

    folder: Path
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def path(self) -> Path:
        return self.folder / f"{self.start:07d}-{self.stop:07d}.safetensors"

    @property
    def claim(self) -> Path:
        """The lock file of who draws it."""
        return self.folder / f".{self.start:07d}-{self.stop:07d}.claim"

    def write(self, images: Tensor, nfe: int, seconds: Seconds, weights: str, drawn_by: str) -> None:
        """Images uint8 [stop-start,C,H,W], evaluations per image, seconds for all, and by whom; raises RunError."""
        known = {"weights": weights, "drawn_by": drawn_by}
        save_checkpoint(self.path, {"images": images}, {"nfe": nfe, **seconds.header(), **known})

    def images(self) -> Tensor:
        """uint8 [stop-start,C,H,W]; raises Damaged for a file that holds anything else than what was written."""
        try:
            images = load_checkpoint(self.path)[0]["images"]
            if len(images) != len(self):
                raise InputError(f"it holds {len(images)} images, by its name {len(self)}")
        except (InputError, KeyError) as error:
            set_aside(self.path, str(error))
            raise Damaged(
                f"{self.path} was damaged and is set aside; the same command draws its images again"
            ) from error
        return images


def chunks_in(folder: Path) -> list[Chunk]:
    """Every chunk of the folder in order. Files of other names, such as a sync tool's copies, are passed over."""
    return _named(folder, ".safetensors")


def _named(folder: Path, end: str) -> list[Chunk]:
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    named = [_NAME.fullmatch(name) for name in names if name.endswith(end)]
    return [Chunk(folder, int(name[1]), int(name[2])) for name in named if name]


class Chunks:
    """Those in `folder` that were drawn with the weights of this SHA-256. Their headers are read once."""

    def __init__(self, folder: Path, weights: str):
        self.folder, self.weights = folder, weights
        self._ours: set[Chunk] = set()

    def stored(self) -> list[Chunk]:
        """In order and without overlap, perhaps with gaps; one whose header is damaged is set aside."""
        chunks: list[Chunk] = []
        for chunk in chunks_in(self.folder):
            if chunk.start >= (chunks[-1].stop if chunks else 0) and self._is_ours(chunk):
                chunks.append(chunk)
        return chunks

    def _is_ours(self, chunk: Chunk) -> bool:
        if chunk not in self._ours:
            try:
                if load_metadata(chunk.path).get("weights") == self.weights:
                    self._ours.add(chunk)
            except InputError as error:
                set_aside(chunk.path, str(error))
        return chunk in self._ours

    def missing(self, n: int) -> int:
        """How many of images 0..n-1 are not stored."""
        return sum(map(len, gaps(self.stored(), n)))

    @contextmanager
    def claimed(self, n: int, batch_size: int) -> Iterator[tuple[Chunk, int] | None]:
        """Hold the next chunk of images 0..n-1 while the body draws it; None where others draw all that is missing.

        Returned with it: the size of the largest chunk in that gap.

        A gap is filled with chunks of at most batch_size that are equally large but for one image, so that their times
        compare, and equal whoever draws them and however often that is interrupted.
        """
        with ExitStack() as held:
            with locked(self.folder / ".lock", "the list of chunks"):
                drawn = self._drawn_by_others()  # first: one that ends meanwhile is stored when that is looked at
                gap = next(iter(gaps([*self.stored(), *drawn], n)), None)
                if gap is not None:
                    rounds = -(-len(gap) // batch_size)
                    chunk = Chunk(self.folder, gap.start, gap.start + len(gap) // rounds)
                    held.enter_context(locked(chunk.claim, "a chunk", wait=False))
                    held.callback(chunk.claim.unlink, missing_ok=True)
            yield None if gap is None else (chunk, -(-len(gap) // rounds))

    def _drawn_by_others(self) -> list[Chunk]:
        """What living processes hold. Called under the lock of the folder, where alone claims are made."""
        living = []
        for chunk in _named(self.folder, ".claim"):
            try:
                with locked(chunk.claim, "a chunk", wait=False):
                    chunk.claim.unlink(missing_ok=True)  # its process was killed
            except Held:
                living.append(chunk)
        return living


def gaps(chunks: Iterable[Chunk], n: int) -> list[range]:
    """What these chunks leave of 0..n-1."""
    found, done = [], 0
    for chunk in sorted(chunks, key=lambda chunk: chunk.start):
        if done < min(chunk.start, n):
            found.append(range(done, min(chunk.start, n)))
        done = max(done, chunk.stop)
    return [*found, range(done, n)] if done < n else found


class SampleSet:
    """The first n images of a seed; `nfe` is the network evaluations per image.

    seconds_per_image: one value per chunk that this device drew, in whatever batches and threads; empty if another one drew
    them all.
    """

    def __init__(self, chunks: Sequence[Chunk], n: int, drawn_by: str):
        self._chunks, self.n = chunks, n
        made = [load_metadata(chunk.path) for chunk in chunks]
        self.nfe: int = made[-1]["nfe"]
        self.seconds_per_image = [
            Seconds.per_image(m, len(chunk)) for chunk, m in zip(chunks, made, strict=True) if m["drawn_by"] == drawn_by
        ]

    def batches(self) -> Iterator[Tensor]:
        """The images in order, uint8 [B,C,H,W] at a time; raises Damaged for a chunk that is."""
        for chunk in self._chunks:
            yield chunk.images()[: self.n - chunk.start]

    @cached_property
    def images(self) -> Tensor:
        """All of them, uint8 [n,C,H,W]."""
        return torch.cat(list(self.batches()))

    def first(self, count: int) -> Tensor:
        """The first images, uint8 [count,C,H,W], however few a chunk holds."""
        chunks = [chunk.images() for chunk in self._chunks if chunk.start < count]
        return torch.cat(chunks)[: min(count, self.n)]
