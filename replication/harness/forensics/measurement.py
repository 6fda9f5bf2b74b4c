"""Everything that one distance depends on. A choice is one field of it changed."""

from dataclasses import dataclass
from typing import Literal

from replication.harness.jobs.cell import Cell
from replication.settings import Part


@dataclass(frozen=True)
class Samples:
    """The generated images 0..n-1 of a seed."""

    cell: Cell | None  # what makes them; None: they were given as files
    n: int
    seed: int
    batch_size: int  # of sampling
    stored: str = "png"  # a treatment
    came_as_jpeg: bool = False

    @property
    def population(self) -> str:
        """Image i of one population is the same image, or made from the same noise, in every measurement."""
        return f"seed {self.seed}" if self.cell else "given"


@dataclass(frozen=True)
class Reference:
    """The real images."""

    dataset: Part
    split: str
    drop_last: int = 0  # batch size whose last partial batch is left out; 0: every image is in
    stored: str = "png"  # a treatment


@dataclass(frozen=True)
class Extraction:
    """How either kind of images becomes features."""

    extractor: Part
    precision: Literal["float32", "float64"] = "float32"
    batch_size: int = 256
    resize: str = "png"  # a treatment of all images before the extractor sees them


@dataclass(frozen=True)
class Measurement:
    """One way to arrive at a distance."""

    samples: Samples
    reference: Reference
    extraction: Extraction
