"""What every dataset answers, whichever way its examples are stored."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import ClassVar

from replication.datasets.content import Split
from replication.datasets.preprocessing import Preprocessing
from replication.registry import unknown
from replication.types import InputError


@dataclass(frozen=True)
class Dataset(ABC):
    """A fixed set of labelled square images, known by what its splits must contain."""

    computed: ClassVar[bool] = False  # drawn by this code: nobody has images of it from elsewhere

    name: str
    channels: int
    resolution: int  # H = W, pixels
    classes: tuple[str, ...]  # label k is classes[k]
    flip: bool  # whether a horizontal flip of an image is another image of its class
    sizes: Mapping[str, int]  # split -> number of examples
    fingerprints: Mapping[str, str]  # split -> SHA-256, see content.py
    preprocessing: Preprocessing = field(default="none", kw_only=True)  # how its images came to the resolution
    captions: tuple[str, ...] = field(default=(), kw_only=True)  # as many per class, class after class: captions.py

    def load(self, split: str) -> Split:
        """The split, checked against its fingerprint.

        Raises InputError for an unknown split, and where the content is absent and cannot be had, or is not right.
        """
        if split not in self.fingerprints:
            raise unknown(f"{self.name} split", split, sorted(self.fingerprints))
        self._obtain()
        return self._checked(split)

    def verify(self) -> dict[str, str]:
        """Read every split again and return split -> fingerprint; InputError for the first that is absent or wrong."""
        return {split: self._checked(split).fingerprint for split in self.fingerprints}

    def status(self) -> str:
        """One line for `replicate data list`: what the dataset is and whether it is here."""
        sizes = ", ".join(f"{split} {size:,}" for split, size in self.sizes.items())
        shape = f"{self.resolution}x{self.resolution}x{self.channels}"
        return f"{self.name}: {shape}, {len(self.classes)} classes, {sizes}; {self._whereabouts()}"

    def present(self) -> bool:
        """Whether the content is on this machine; that of a dataset which is computed or embedded always is."""
        return True

    def add(self, path: str | PathLike[str]) -> None:
        """Import the dataset from a local copy; InputError where that is no copy of it, or none is needed."""
        raise InputError(f"{self.name} is {self._whereabouts()}: there is nothing to add, and {path} was not read")

    @abstractmethod
    def _read(self, split: str) -> Split:
        """The split as it is stored, not yet checked."""

    @abstractmethod
    def _whereabouts(self) -> str:
        """Whether and where the content is stored."""

    @abstractmethod
    def _blame(self, split: str) -> str:
        """What a message about wrong stored content blames, and how to repair it."""

    def _obtain(self) -> None:  # noqa: B027
        """Make `_read` possible, by a download if need be; what is computed or embedded needs nothing."""

    def _checked(self, split: str) -> Split:
        content = self._read(split)
        self._require(split, content, self._blame(split))
        return content

    def _require(self, split: str, content: Split, source: str) -> None:
        """Raise InputError, which begins with `source`, unless the content is what the split must be."""
        expected = self.fingerprints[split]
        if content.fingerprint != expected:
            raise InputError(
                f"{source}: {self.name} {split} must be {self.sizes[split]:,} examples with SHA-256 {expected}, "
                f"got {len(content.labels):,} with {content.fingerprint}"
            )
