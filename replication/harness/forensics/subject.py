"""What is examined: a cell of an experiment, a checkpoint of the suite, or images from elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from replication.checkpoint import load_metadata
from replication.harness.experiment import explained, load_experiment
from replication.harness.experiment_file import toml_value
from replication.harness.forensics.images import any_jpeg, read_images
from replication.harness.forensics.measurement import Measurement
from replication.harness.jobs.cell import Cell, cells_of
from replication.harness.protocol import Protocol, named_protocol
from replication.registry import DATASETS, EXTRACTORS, SAMPLERS, unknown
from replication.sampling.generation import Sampling
from replication.settings import Part
from replication.training.recipe import Recipe
from replication.types import InputError

STEPS = 50  # of the base, or what the experiment has nearest to it
BATCH_SIZE = 256  # of sampling from a checkpoint by itself
PROTOCOLS = ("suite-digits", "suite")  # of files: the first whose extractor takes the images


@dataclass(frozen=True, eq=False)
class Subject:
    """The base, and where its images come from: an experiment's own checkpoint unless one of the two is given."""

    name: str
    title: str
    base: Measurement
    protocol: Protocol
    checkpoint: Path | None = None
    images: Tensor | None = None  # uint8 [N,C,H,W]

    @property
    def from_experiment(self) -> bool:
        return self.checkpoint is None and self.images is None


@dataclass(frozen=True)
class Wishes:
    """What the command line asks of the base; None leaves it to the subject."""

    profile: str = "cpu"
    row: str | None = None
    steps: int | None = None
    protocol: str | None = None
    dataset: str | None = None
    settings: Mapping[str, str] | None = None  # --set


def subject_of(name: str, wishes: Wishes) -> Subject:
    """The subject called `name`: a file, a folder, or an experiment.

    Raises InputError for what is none of them, for wrong content, and for wishes that it can't fulfil.
    """
    if wishes.steps is not None and wishes.steps < 1:
        raise InputError(f"--steps {wishes.steps}: the number of steps must be at least 1")
    path = Path(name).expanduser()
    if path.suffix == ".toml" or not (path.is_dir() or path.is_file()):
        if path.suffix in (".safetensors", ".npz") or name.endswith("/"):
            raise InputError(f"{name}: there is no such file or folder")
        return _of_experiment(name, wishes)
    if path.suffix == ".safetensors" and _is_checkpoint(path):
        return _of_checkpoint(path, load_metadata(path), wishes)
    return _of_images(path, wishes)


def _is_checkpoint(path: Path) -> bool:
    """Whether there is a recipe in it; what is damaged is left for the reader of images to complain of."""
    try:
        return "recipe" in load_metadata(path)
    except InputError:
        return False


def _of_experiment(name: str, wishes: Wishes) -> Subject:
    _refuse(wishes, "an experiment states that itself", "protocol", "dataset")
    experiment = load_experiment(name, wishes.settings, wishes.profile)
    profile = experiment.profile(wishes.profile)
    cell = _base_cell(cells_of(experiment, wishes.profile), wishes)
    base = _base(cell, cell.protocol, cell.recipe.dataset, cell.protocol.n, profile.batch_size)
    return Subject(f"{experiment.name}-{wishes.profile}", experiment.title, base, cell.protocol)


def _base_cell(cells: list[Cell], wishes: Wishes) -> Cell:
    """The cell asked for; by default a deterministic one, with the number of steps nearest to STEPS."""
    labels = list(dict.fromkeys(cell.label for cell in cells))
    if wishes.row is not None and wishes.row not in labels:
        raise unknown("row", wishes.row, labels)
    deterministic = [cell for cell in cells if not cell.sampling.sampler.build(SAMPLERS).stochastic]
    chosen = [cell for cell in cells if cell.label == wishes.row] or deterministic or cells
    cell = min(chosen, key=lambda cell: abs(log(cell.sampling.steps / (wishes.steps or STEPS))))
    if wishes.steps is not None:
        cell = cell.with_fields(sampling=cell.sampling.with_fields(steps=wishes.steps))
        cell.check()
    return cell


def _of_checkpoint(path: Path, metadata: Mapping[str, object], wishes: Wishes) -> Subject:
    _refuse(wishes, "only an experiment has rows", "row")
    _refuse(wishes, "a checkpoint states that itself", "dataset")
    try:
        recipe = Recipe.model_validate(metadata["recipe"])
    except ValidationError as error:
        raise InputError(f"{path}: {explained(error, Recipe, 'recipe')}") from error
    recipe.check()
    protocol = _protocol(recipe.dataset, wishes)
    if recipe.condition and protocol.labels == "balanced":  # the protocol's n need not be a multiple of the classes
        protocol = protocol.with_changes({"labels": "uniform"})
    steps = wishes.steps or STEPS
    cell = Cell(
        experiment=path.stem,
        profile="none",
        label="DDIM",
        recipe=recipe,
        sampling=Sampling(sampler=Part(name="ddim"), spacing=Part(name="uniform"), steps=steps, clip="none"),
        protocol=protocol,
        nll=None,
        published=[],
    )
    cell.check()
    base = _base(cell, protocol, recipe.dataset, protocol.n, BATCH_SIZE)
    return Subject(path.stem, f"checkpoint {path.name}", base, protocol, checkpoint=path)


def _of_images(path: Path, wishes: Wishes) -> Subject:
    _refuse(wishes, "the images are there already", "row", "steps")
    images = read_images(path)
    dataset = Part(name=wishes.dataset or _dataset_of(images, path))
    _check_shape(images, dataset, path)
    protocol = _protocol(dataset, wishes).with_changes({"n": len(images)})
    protocol.check_preprocessing(dataset.build(DATASETS))
    base = replace(_base(None, protocol, dataset, len(images), BATCH_SIZE), came_as_jpeg=any_jpeg(path))
    return Subject(path.stem or path.resolve().name, f"images of {path.name}", base, protocol, images=images)


def _dataset_of(images: Tensor, path: Path) -> str:
    """The one dataset of the project that was collected, not computed, and whose images have this shape."""
    datasets = [(name, d) for name, d in DATASETS.built() if not d.computed]
    collected = [name for name, d in datasets if (d.channels, d.resolution, d.resolution) == images.shape[1:]]
    if len(collected) == 1:
        return collected[0]
    reason = f"{', '.join(collected)} have" if collected else "no dataset has"
    raise InputError(f"{path}: {reason} images of shape {list(images.shape[1:])}; name one with --dataset")


def _check_shape(images: Tensor, dataset: Part, path: Path) -> None:
    if images.shape[1:] != _shape(dataset):
        raise InputError(f"{path}: images are {list(images.shape[1:])}, those of {dataset} are {list(_shape(dataset))}")


def _shape(dataset: Part) -> torch.Size:
    built = dataset.build(DATASETS)
    return torch.Size([built.channels, built.resolution, built.resolution])


def _protocol(dataset: Part, wishes: Wishes) -> Protocol:
    """The named protocol, or the suite's own for images of this dataset, with the `protocol.` keys of --set in it."""
    changes = {}
    for key, value in (wishes.settings or {}).items():
        if not key.startswith("protocol."):
            raise InputError(f"--set {key}: only an experiment has that; of a file, keys of `protocol.` can be changed")
        changes[key.removeprefix("protocol.")] = toml_value(value)
    name = wishes.protocol
    if name is None:
        name = next(name for name in PROTOCOLS if _takes(named_protocol(name), dataset))
        changes.setdefault("preprocessing", dataset.build(DATASETS).preprocessing)
    try:
        return named_protocol(name).with_changes(changes)
    except ValidationError as error:
        raise InputError(f"--set {explained(error, Protocol, 'protocol')}") from error


def _takes(protocol: Protocol, dataset: Part) -> bool:
    try:
        protocol.extractor.build(EXTRACTORS).prepare(torch.empty((1, *_shape(dataset)), dtype=torch.uint8))
    except InputError:
        return False
    return True


def _base(cell: Cell | None, protocol: Protocol, dataset: Part, n: int, batch_size: int) -> Measurement:
    reference = (dataset, protocol.reference, protocol.drop_last)
    return Measurement(cell, n, protocol.seeds[0], batch_size, *reference, protocol.extractor)


def _refuse(wishes: Wishes, reason: str, *options: str) -> None:
    for option in options:
        if (value := getattr(wishes, option)) is not None:
            raise InputError(f"--{option} {value}: {reason}")
