"""A sample set: the images of one seed, in chunks on disk.

A chunk is one batch of images in one atomic file; a set may be finished with another batch size, or made longer later,
and holds the same images. Reading goes chunk by chunk, so a set may be larger than the memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from replication.checkpoint import load_checkpoint, load_metadata, save_checkpoint
from replication.types import InputError


class Seconds(NamedTuple):
    """What images took: drawing x_0, and decoding it to pixels where it is a latent."""

    sampling: float
    decoding: float

    @property
    def image(self) -> float:
        """Until there are pixels."""
        return self.sampling + self.decoding


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

    def write(self, images: Tensor, nfe: int, seconds: Seconds, weights: str, drawn_by: str) -> None:
        """Images uint8 [stop-start,C,H,W], evaluations per image, seconds for all, and by whom; raises RunError."""
        made = {"nfe": nfe, "seconds": seconds.sampling, "decoding": seconds.decoding}
        save_checkpoint(self.path, {"images": images}, {**made, "weights": weights, "drawn_by": drawn_by})

    def images(self) -> Tensor:
        """uint8 [stop-start,C,H,W]; raises InputError for a damaged file, or one that holds another number."""
        images = load_checkpoint(self.path)[0]["images"]
        if len(images) != len(self):
            raise InputError(f"{self.path}: holds {len(images)} images, by its name {len(self)}; delete it")
        return images


def stored_chunks(folder: Path, weights: str) -> list[Chunk]:
    """The chunks drawn with these weights that follow each other without a gap from image 0."""
    chunks: list[Chunk] = []
    for path in sorted(folder.glob("[0-9]*-[0-9]*.safetensors")):
        chunk = Chunk(folder, *map(int, path.stem.split("-")))
        follows = chunk.start == (chunks[-1].stop if chunks else 0)
        if follows and load_metadata(path).get("weights") == weights:
            chunks.append(chunk)
    return chunks


class SampleSet:
    """The first n images of a seed; `nfe` is the network evaluations per image.

    seconds_per_image: one value per chunk that this device drew; empty if another one drew them all.
    """

    def __init__(self, chunks: Sequence[Chunk], n: int, drawn_by: str):
        self._chunks, self.n = chunks, n
        made = [load_metadata(chunk.path) for chunk in chunks]
        self.nfe: int = made[-1]["nfe"]
        self.seconds_per_image = [
            Seconds(m["seconds"] / len(chunk), m.get("decoding", 0.0) / len(chunk))
            for chunk, m in zip(chunks, made, strict=True)
            if m["drawn_by"] == drawn_by
        ]

    def batches(self) -> Iterator[Tensor]:
        """The images in order, uint8 [B,C,H,W] at a time."""
        for chunk in self._chunks:
            yield chunk.images()[: self.n - chunk.start]

    @cached_property
    def images(self) -> Tensor:
        """All of them, uint8 [n,C,H,W]."""
        return torch.cat(list(self.batches()))

    def first(self, count: int) -> Tensor:
        """The first images, uint8 [count,C,H,W]."""
        return next(self.batches())[:count]
