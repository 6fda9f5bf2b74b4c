"""A cell: one point of a sweep, a checkpoint + a sampling setting + a protocol. One cell = one row = one MLflow run."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from replication.conditions.condition import labels_of
from replication.diffusion.denoiser import Denoise
from replication.diffusion.variance import check_variance
from replication.harness.experiment import Experiment, Row, explained
from replication.harness.experiment_file import merged
from replication.harness.protocol import Protocol
from replication.harness.published import PublishedValue
from replication.pixels import QUANTIZERS
from replication.registry import EXTRACTORS, SAMPLERS, SPACINGS, unknown
from replication.sampling.generation import Sampling
from replication.settings import Settings, content_key
from replication.training.recipe import Recipe
from replication.types import InputError


class Cell(Settings):
    """Frozen; `key` is the SHA-256 of the canonical JSON of `identity()`, in which labels and papers have no part."""

    experiment: str
    profile: str
    label: str
    recipe: Recipe
    sampling: Sampling
    protocol: Protocol
    nll: str | None
    published: list[PublishedValue]

    def identity(self) -> dict[str, Any]:
        return {
            "profile": self.profile,
            "samples": self.sample_identity(),
            "protocol": self.protocol.identity(),
            "nll": self.nll,
        }

    def sample_identity(self) -> dict[str, Any]:
        """What fixes the images of a seed: cells that agree in it share their sample sets."""
        return {
            "recipe": self.recipe.identity(),
            "sampler": self.sampling.sampler.identity(SAMPLERS),
            "spacing": self.sampling.spacing.identity(SPACINGS),
            "steps": self.sampling.steps,
            "clip": self.sampling.clip,
            **({"guidance": self.sampling.guidance.model_dump()} if self.sampling.guidance else {}),
            **({"labels": self._labels()} if self.recipe.condition else {}),
            "ema": self.protocol.ema,
            "quantizer": self.protocol.quantizer,
            "precision": self.protocol.precision,
        }

    def _labels(self) -> str:
        """How labels are chosen; `balanced` draws those of `uniform` and insists on equal counts."""
        return "uniform" if self.protocol.labels == "balanced" else self.protocol.labels

    def cond(self, seed: int, device: torch.device) -> Callable[[int, int], Tensor] | None:
        """`cond(start, stop)` of a seed's images; None for an unconditional network."""
        condition, dataset = self.recipe.build_condition(), self.recipe.build_dataset()
        if condition is None:
            return None

        def told(start: int, stop: int) -> Tensor:
            images = torch.arange(start, stop, device=device)
            return condition.of(self.labels(seed, start, stop).to(device), images, dataset)

        return told

    def labels(self, seed: int, start: int, stop: int) -> Tensor:
        """What images start..stop-1 of the seed are asked to show, Int[stop-start]."""
        classes = len(self.recipe.build_dataset().classes)
        return labels_of(self.protocol.labels, start, stop, self.protocol.n, classes, seed)

    def guided(self, denoiser: Denoise, null: Tensor) -> Denoise:
        """The denoiser as this cell samples it; null: what stands for no condition, of one image."""
        guidance = self.sampling.guidance
        return denoiser if guidance is None else guidance.around(denoiser, null)

    @property
    def targets(self) -> dict[str, float]:
        """The published value of each metric, by whoever the row names first: the paper itself."""
        targets: dict[str, float] = {}
        for value in self.published:
            targets.setdefault(value.metric, value.value)
        return targets

    @cached_property
    def key(self) -> str:
        return content_key(self.identity())

    @cached_property
    def sample_key(self) -> str:
        return content_key(self.sample_identity())

    def check(self) -> None:
        """Whatever can be wrong besides the recipe, before anything is computed; raises InputError."""
        self.sampling.times(self.recipe.build_schedule())
        reads = "learned" in (self.nll, getattr(self.sampling.sampler.build(SAMPLERS), "variance", None))
        if reads and not self.recipe.build_objective().learns_variance:
            raise InputError(f"variance 'learned': objective {self.recipe.objective} trains no variance")
        if self.protocol.quantizer not in QUANTIZERS:
            raise unknown("quantizer", self.protocol.quantizer, list(QUANTIZERS))
        if self.nll is not None:
            check_variance(self.nll)
            if self.recipe.first_stage is not None:
                raise InputError(f"nll = {self.nll!r}: the bound is that of pixels, and this model is one of latents")
        dataset = self.recipe.build_dataset()
        self.protocol.check_preprocessing(dataset)
        self._check_condition()
        shape = (1, dataset.channels, dataset.resolution, dataset.resolution)
        self.protocol.extractor.build(EXTRACTORS).prepare(torch.empty(shape, dtype=torch.uint8))

    def _check_condition(self) -> None:
        if self.recipe.condition is None:
            if self.sampling.guidance is not None:
                raise InputError("guidance needs a conditional network: recipe.condition is not set")
            return
        if self.nll is not None:
            raise InputError(f"nll = {self.nll!r}: the bound is that of an unconditional network; leave it out")
        self.labels(self.protocol.seeds[0], 0, 1)
        null = self.recipe.null(1, "cpu")
        assert null is not None
        self.guided(self.recipe.build_denoiser(nn.Identity()), null[0])


def row_cells(cells: Sequence[Cell], label: str) -> list[Cell]:
    """The cells of a row; raises InputError with the nearest valid name."""
    of_row = [cell for cell in cells if cell.label == label]
    if not of_row:
        raise unknown("row", label, list(dict.fromkeys(cell.label for cell in cells)))
    return of_row


def find_cell(cells: Sequence[Cell], label: str, steps: int | None) -> Cell:
    """The cell of a row at a step count, the row's first by default; raises InputError for one that there is not."""
    of_row = row_cells(cells, label)
    for cell in of_row:
        if steps in (None, cell.sampling.steps):
            return cell
    raise InputError(f"row {label!r} has {', '.join(str(c.sampling.steps) for c in of_row)} steps, not {steps}")


def cells_of(experiment: Experiment, profile_name: str) -> list[Cell]:
    """The cells of a profile in the table's order, each of them checked.

    Raises InputError naming the file, the row and what is wrong in it.
    """
    profile = experiment.profile(profile_name)
    recipes: dict[str, Recipe] = {}  # by what the row changes: most rows change nothing
    cells: list[Cell] = []
    for i, row in enumerate(profile.rows):
        where = f"{experiment.path}: profiles.{profile_name}.rows[{i}] ({row.label})"
        part: type[Settings] = Recipe
        try:
            if repr(row.recipe) not in recipes:
                recipe = Recipe.model_validate(merged(profile.recipe.model_dump(), row.recipe)).completed()
                recipe.check()
                recipes[repr(row.recipe)] = recipe
            part = Protocol
            protocol = profile.protocol.with_changes(row.protocol)
            published = experiment.published(row)
            of_row = [
                _cell(experiment.name, profile_name, row, steps, recipes[repr(row.recipe)], protocol, published)
                for steps in row.steps
            ]
            for cell in of_row:
                cell.check()
        except ValidationError as error:
            raise InputError(f"{where}: {explained(error, part, part.__name__.lower())}") from error
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if str(protocol.extractor) != str(profile.protocol.extractor):
            raise InputError(
                f"{where}: protocol.extractor = {protocol.extractor}: the table is one of {profile.protocol.extractor}, "
                "and two extractors' distances have nothing to do with each other"
            )
        cells += of_row
    return cells


def _cell(
    experiment: str,
    profile: str,
    row: Row,
    steps: int,
    recipe: Recipe,
    protocol: Protocol,
    published: list[PublishedValue],
) -> Cell:
    return Cell(
        experiment=experiment,
        profile=profile,
        label=row.label,
        recipe=recipe,
        sampling=Sampling(sampler=row.sampler, spacing=row.spacing, steps=steps, clip=row.clip, guidance=row.guidance),
        protocol=protocol,
        nll=row.nll,
        published=[value for value in published if value.steps == steps],
    )
