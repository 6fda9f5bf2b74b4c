"""The base of an examination, from an experiment, a checkpoint, or given images: all that its distance depends on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import log
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import Tensor

from replication.checkpoint import metadata_of_ours
from replication.datasets.dataset import Dataset
from replication.files import expanded, printable
from replication.harness.experiment import explained, load_experiment
from replication.harness.home import check_unambiguous
from replication.harness.images import open_images
from replication.harness.job import of_row
from replication.harness.jobs.cell import Cell, cells_of
from replication.harness.protocol import Protocol
from replication.harness.subjects import DRAWN, OF_DRAWING, check_settings, check_shape, dataset_of, protocol_for
from replication.registry import DATASETS, SAMPLERS
from replication.sampling.generation import Sampling
from replication.settings import Part
from replication.training.recipe import Recipe
from replication.types import InputError

PROFILE = "cpu"  # of an experiment, unless another one is asked for
STEPS = 50  # of the base, or what the experiment has nearest to it


@dataclass(frozen=True, eq=False)
class Measurement:
    """Images 0..n-1 of a seed against a reference split, both through one extractor: the base, or one choice changed.

    Images are drawn as `drawn_as` says, from its recipe's own training unless a `checkpoint` is given, or they are `given`,
    uint8 [N,C,H,W]. What is stored and resized is a treatment of examination.py; PNG, being lossless, stands for none.
    """

    name: str  # of the report's files
    title: str
    protocol: Protocol
    dataset: Part  # of the reference
    n: int
    seed: int
    batch_size: int = 256  # of sampling
    drawn_as: Cell | None = None
    checkpoint: Path | None = None
    given: Tensor | None = None
    given_as_jpeg: bool = False
    samples_stored: str = "png"
    reference_stored: str = "png"
    resized: str = "png"  # all images, before the extractor sees them
    precision: Literal["float32", "float64"] = "float32"  # of the extractor
    extractor_batch: int = 256

    @cached_property
    def cell(self) -> Cell:
        """What draws the images, under this protocol; there must be something that does."""
        assert self.drawn_as is not None
        return self.drawn_as.with_fields(protocol=self.protocol)

    def sampled(self, **changes: Any) -> "Measurement":
        """Another sampling setting of the same model."""
        return replace(self, drawn_as=self.cell.with_fields(sampling=self.cell.sampling.with_fields(**changes)))

    def under(self, **changes: Any) -> "Measurement":
        """Another protocol."""
        return replace(self, protocol=self.protocol.with_changes(changes))


@dataclass(frozen=True)
class Wishes:
    """What the command line asks of the base; None leaves it to what is examined."""

    profile: str | None = None
    row: str | None = None
    steps: int | None = None
    protocol: str | None = None
    dataset: str | None = None
    settings: Mapping[str, str] | None = None  # --set

    def refuse(self, reason: str, *options: str) -> None:
        for option in options:
            if (value := getattr(self, option)) is not None:
                raise InputError(f"--{option} {value}: {reason}")


def base_of(name: str, wishes: Wishes) -> Measurement:
    """The base of a file, a folder, or an experiment of that name.

    Raises InputError for what is none of them, for wrong content, and for wishes that it can't fulfil.
    """
    if wishes.steps is not None and wishes.steps < 1:
        raise InputError(f"--steps {wishes.steps}: the number of steps must be at least 1")
    path = expanded(name, "HOME")
    check_unambiguous(name)
    if path.suffix == ".toml" or not path.exists():
        if path.suffix in (".safetensors", ".npz") or name.endswith("/"):
            raise InputError(f"{name}: there is no such file or folder")
        return _of_experiment(name, wishes)
    if path.suffix == ".safetensors" and "recipe" in (metadata := metadata_of_ours(path)):
        return _of_checkpoint(path, metadata, wishes)
    return _of_images(path, wishes)


def _of_experiment(name: str, wishes: Wishes) -> Measurement:
    wishes.refuse("an experiment states that itself", "protocol", "dataset")
    profile = wishes.profile or PROFILE
    experiment = load_experiment(name, wishes.settings, profile)
    cell = _base_cell(cells_of(experiment, profile), wishes)
    batch_size = experiment.profile(profile).batch_size
    return _drawn(f"{experiment.name}-{profile}", experiment.title, cell, batch_size=batch_size)


def _base_cell(cells: list[Cell], wishes: Wishes) -> Cell:
    """The cell asked for; by default a deterministic one, with the number of steps nearest to STEPS."""
    deterministic = [cell for cell in cells if not cell.sampling.sampler.build(SAMPLERS).stochastic]
    chosen = of_row(cells, wishes.row) if wishes.row is not None else deterministic or cells
    cell = min(chosen, key=lambda cell: abs(log(cell.sampling.steps / (wishes.steps or STEPS))))
    return cell.with_fields(sampling=cell.sampling.with_fields(steps=wishes.steps)) if wishes.steps else cell


def _of_checkpoint(path: Path, metadata: Mapping[str, object], wishes: Wishes) -> Measurement:
    wishes.refuse("only an experiment has that", "row", "profile")
    wishes.refuse("a checkpoint states that itself", "dataset")
    try:
        recipe = Recipe.model_validate(metadata["recipe"])
    except ValidationError as error:
        raise InputError(f"{path}: {explained(error, Recipe, 'recipe')}") from error
    protocol = _protocol(recipe.build_dataset(), wishes)
    if recipe.condition and protocol.labels == "balanced":  # the protocol's n need not be a multiple of the classes
        protocol = protocol.with_changes({"labels": "uniform"})
    steps = wishes.steps or STEPS
    cell = Cell(
        experiment=printable(path.stem),
        profile="none",
        label="DDIM",
        recipe=recipe,
        sampling=Sampling(sampler=Part(name="ddim"), spacing=Part(name="uniform"), steps=steps, clip="none"),
        protocol=protocol,
        nll=None,
        published=[],
    )
    return _drawn(printable(path.stem), f"checkpoint {printable(path.name)}", cell, checkpoint=path)


def _drawn(name: str, title: str, cell: Cell, **options: Any) -> Measurement:
    cell.check()
    dataset, protocol = cell.recipe.dataset, cell.protocol
    return Measurement(name, title, protocol, dataset, protocol.n, protocol.seeds[0], drawn_as=cell, **options)


def _of_images(path: Path, wishes: Wishes) -> Measurement:
    wishes.refuse(DRAWN, "row", "steps", "profile")
    check_settings(wishes.settings or {}, ("n", "nll_images", *OF_DRAWING), DRAWN)
    images = open_images(path)
    dataset = dataset_of(images, wishes.dataset, "--dataset")
    built = dataset.build(DATASETS)
    check_shape(images, built.shape, str(dataset))
    protocol = _protocol(built, wishes).with_changes({"n": images.n})
    protocol.check_reference(built)
    # a folder's name may have a dot in it, eta0.5, and no suffix
    name = printable(path.resolve().name if path.is_dir() else path.stem)
    passed_over = f" ({images.passed_over})" if images.passed_over else ""
    title = f"images of {printable(path.name)}{passed_over}"
    given, as_jpeg = torch.cat(list(images.batches())), images.jpegs > 0
    seed = protocol.seeds[0]
    return Measurement(name, title, protocol, dataset, images.n, seed, given=given, given_as_jpeg=as_jpeg)


def _protocol(dataset: Dataset, wishes: Wishes) -> Protocol:
    return protocol_for(dataset.shape, dataset.preprocessing, wishes.protocol, wishes.settings or {})
