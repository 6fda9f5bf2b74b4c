"""A dataset: labelled square images in splits, each identified by its content, whichever way it is stored.

A record is `label byte + H*W*C raw bytes`. Records sorted as byte strings are the canonical order, and SHA-256 over all
of them in that order is the fingerprint, so neither depends on the container or on the order that examples came in.
mapped.py states the differences for sets that do not fit in the memory.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from replication.datasets.pictures import Stored
from replication.registry import one_of
from replication.types import InputError


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a dataset, sorted by content."""

    images: Tensor  # uint8 [N,C,H,W]
    labels: Tensor  # int64 [N]
    fingerprint: str  # SHA-256, 64 hexadecimal digits

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray) -> "Split":
        """Sort `images: uint8 [N,H,W,C]` with `labels: [N]` and fingerprint them; equal ones stay.

        Raises InputError for a label outside 0..255: a record has one byte for it.
        """
        if len(labels) and not (labels.min() >= 0 and labels.max() <= 255):
            wrong = labels.max() if labels.max() > 255 else labels.min()
            raise InputError(f"label {wrong} does not fit in a record, whose label is one byte, 0 to 255")
        records = np.concatenate([labels.astype(np.uint8)[:, None], images.reshape(len(images), -1)], axis=1)
        # A void scalar of the record's length compares byte by byte; an "S" scalar would ignore zeros at the end.
        records = records[np.argsort(records.view(f"V{records.shape[1]}").ravel(), kind="stable")]
        pixels = records[:, 1:].reshape(images.shape).transpose(0, 3, 1, 2)
        return cls(
            images=torch.from_numpy(np.ascontiguousarray(pixels)),
            labels=torch.from_numpy(records[:, 0].astype(np.int64)),
            fingerprint=hashlib.sha256(records.data).hexdigest(),
        )


@dataclass(frozen=True)
class Whole:
    """N photographs in canonical order, each in its own shape, its shorter side of one length; the SHA-256 of them all.

    What trainings cut windows from that see an image in another place each time, as LDM's of ImageNet and its first stages do.
    """

    content: Tensor  # uint8 [bytes], of one photograph [3,h,w] after the other
    sizes: Tensor  # int64 [N,2]: h, w
    labels: Tensor  # int64 [N]
    fingerprint: str

    def windows(self, chosen: Tensor, places: Tensor, side: int) -> Tensor:
        """uint8 [B,3,side,side] of the photographs chosen, Int[B] on the CPU.

        places: Float[B,2] in [0, 1), how far down and to the right a window lies among all that fit.
        """
        corners = (places.double() * (self.sizes[chosen] - side + 1)).long()
        placed = zip(chosen.tolist(), corners.tolist(), strict=True)
        return torch.stack([self.image(i)[:, y : y + side, x : x + side] for i, (y, x) in placed])

    def image(self, i: int) -> Tensor:
        """Photograph i, uint8 [3,h,w]."""
        height, width = self.sizes[i].tolist()
        start = int(self._starts[i])
        return self.content[start : start + 3 * height * width].view(3, height, width)

    @cached_property
    def _starts(self) -> Tensor:
        lengths = 3 * self.sizes.prod(1)
        return lengths.cumsum(0) - lengths


@dataclass(frozen=True)
class Dataset(ABC):
    """Known by what its splits must contain. `_read` is all that one which is computed or embedded must define."""

    computed: ClassVar[bool] = False  # drawn by this code, so that images from elsewhere are never of it
    origin: ClassVar[str] = "computed"  # where images are from that are not stored

    name: str
    channels: int
    resolution: int  # H = W, pixels
    classes: tuple[str, ...]  # label k is classes[k]
    flip: bool  # whether a horizontal flip of an image is another image of its class
    sizes: Mapping[str, int]  # split -> number of examples
    fingerprints: Mapping[str, str]  # split -> SHA-256
    # how its images came to the resolution
    preprocessing: Literal["none"] | Stored = field(default="none", kw_only=True)
    captions: tuple[str, ...] = field(
        default=(), kw_only=True
    )  # as many per class, class after class; of one class, image by image

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return self.channels, self.resolution, self.resolution

    def load(self, split: str) -> Split:
        """The split, checked against its fingerprint.

        Raises InputError for an unknown split, and where the content is absent and cannot be had, or is not right.
        """
        content = self._read(one_of(f"{self.name} split", split, sorted(self.fingerprints)))
        self._require(split, content, self._blame(split))
        return content

    def kept_whole(self, shorter: int) -> "Dataset":
        """Its photographs without a crop, their shorter side of that length; raises InputError for a set that has none."""
        raise InputError(f"training.crop: {self.name} has no photographs of {shorter} pixels to cut windows from")

    def photographs(self, split: str) -> Whole:
        """Of a set that is kept whole; raises InputError for any other, and where they are absent."""
        raise InputError(f"{self.name} holds squares, and no whole photographs")

    def verify(self) -> dict[str, str]:
        """Read all of what is here and return split -> fingerprint; InputError for the first that is absent or wrong."""
        if not self.present():
            raise InputError(f"{self.name} is {self._whereabouts()}")
        return {split: self.load(split).fingerprint for split in self.fingerprints}

    def status(self) -> str:
        """One line for `replicate data list`: what the dataset is and whether it is here."""
        sizes = [f"{split} {size:,}" for split, size in self.sizes.items() if size]
        shape = f"{self.resolution}x{self.resolution}x{self.channels}"
        return f"{self.name}: {', '.join([shape, f'{len(self.classes)} classes', *sizes])}; {self._whereabouts()}"

    def present(self) -> bool:
        """Whether the content is on this machine."""
        return True

    def ensure_captions(self) -> None:  # noqa: B027  most are known without the images
        """Raises InputError where they come with the images, and those are not here."""

    def add(self, path: str | PathLike[str]) -> None:
        """Import the dataset from a local copy; InputError where that is no copy of it, or none is needed."""
        raise InputError(f"{self.name} is {self._whereabouts()}: there is nothing to add, and {path} was not read")

    @abstractmethod
    def _read(self, split: str) -> Split:
        """The split, downloaded if need be, and not yet checked."""

    def _whereabouts(self) -> str:
        """Whether and where the content is stored."""
        return self.origin

    def _blame(self, split: str) -> str:
        """How a message about wrong content begins: where it is, and how to repair it."""
        return f"{self.name} is {self.origin}, and the versions here give other images (requirements.lock has some that fit)"

    def _require(self, split: str, content: Split, source: str) -> None:
        """Raise InputError, which begins with `source`, unless the content is what the split must be."""
        expected = self.fingerprints[split]
        if content.fingerprint != expected:
            raise InputError(
                f"{source}: {self.name} {split} must be {self.sizes[split]:,} examples with SHA-256 {expected}, "
                f"got {len(content.labels):,} with {content.fingerprint}"
            )


def captions(names: Sequence[Sequence[str]], templates: Sequence[str]) -> tuple[str, ...]:
    """Captions made from the names of the classes: those of one class together, in the order of the templates.

    names[k] are the one or several names of class k. A template has {0}, {1}, ... for a name, {a0}, {a1}, ... for a name
    with its article.
    """
    return tuple(
        template.format(*of_class, **{f"a{i}": _with_article(name) for i, name in enumerate(of_class)})
        for of_class in names
        for template in templates
    )


def _with_article(name: str) -> str:
    """By sound: an eight, an 8, but a one."""
    return f"an {name}" if name[0] in "aeiou8" and name != "one" else f"a {name}"
