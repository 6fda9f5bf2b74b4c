"""Everything that one distance depends on. A choice is one field of it changed; treatment.py has the treatments."""

from dataclasses import dataclass
from typing import Literal

from replication.harness.jobs.cell import Cell
from replication.settings import Part


@dataclass(frozen=True)
class Measurement:
    """Images 0..n-1 of a seed against a reference split, both through one extractor."""

    cell: Cell | None  # what makes the images; None: they were given as files
    n: int
    seed: int
    batch_size: int  # of sampling
    dataset: Part  # of the reference
    split: str
    drop_last: int  # batch size whose last partial batch is left out of the reference; 0: every image is in
    extractor: Part
    came_as_jpeg: bool = False
    samples_stored: str = "png"  # a treatment
    reference_stored: str = "png"  # a treatment
    resized: str = "png"  # a treatment of all images before the extractor sees them
    precision: Literal["float32", "float64"] = "float32"  # of the extractor
    extractor_batch: int = 256

    @property
    def population(self) -> str:
        """Image i of one population is the same image, or made from the same noise, in every measurement."""
        return f"seed {self.seed}" if self.cell else "given"

    @property
    def generated(self) -> tuple[object, ...]:
        """What the features of the generated images depend on, their number apart."""
        drawn = (self.cell, self.seed, self.batch_size, self.samples_stored)
        return *drawn, self.resized, self.precision, self.extractor_batch

    @property
    def reference(self) -> tuple[object, ...]:
        """What the features of the real images depend on. They are extracted in one batch size, and read from a file."""
        return self.split, self.drop_last, self.reference_stored, self.resized, self.precision
