"""`--weights auto`: the published weights that rows lack, found by what the rows say, fetched and given to them."""

from collections.abc import Sequence
from typing import NamedTuple

from replication.harness.fetched_weights import fetch, fits, in_place, is_here, lacking, published
from replication.harness.given_weights import give_first_stage, give_network
from replication.harness.jobs.cell import Cell
from replication.harness.workplace import Workplace
from replication.layers.weights import Published
from replication.types import InputError


class Wanted(NamedTuple):
    """A published file for a cell's network, its first stage, or what it is conditioned or guided by."""

    file: Published
    cell: Cell
    of_stage: bool = False

    @property
    def title(self) -> str:
        stage = self.cell.recipe.first_stage
        if in_place(self.file):
            return self.file.part
        return f"first stage {stage.name}" if self.of_stage and stage else self.cell.label


def wanted_first(cells: Sequence[Cell]) -> list[Wanted]:
    """The text encoders and classifiers that these cells lack, each once: keys hold their content."""
    return list({file.name: Wanted(file, cell) for cell in cells for file in lacking(cell)}.values())


def wanted(cells: Sequence[Cell], place: Workplace) -> list[Wanted]:
    """What these cells lack besides, each once, a first stage before the networks in its latents.

    Raises InputError where no published file is for a row: of its network, data, meaning and steps.
    """
    found: dict[str, Wanted] = {}
    for cell in cells:
        recipe, stage, dataset = cell.recipe, cell.recipe.first_stage, cell.recipe.build_dataset()
        if stage is not None:
            snapshots = place.stage_snapshots(stage, dataset)
            if snapshots.key not in found and not snapshots.found(stage.training.steps):
                name = f"{cell.experiment}:{stage.name}"
                fitting = [file for file in published() if name in file.stages]
                found[snapshots.key] = Wanted(_chosen(fitting, f"first stage {stage.name}", cell), cell, True)
        snapshots = place.snapshots(recipe)
        if snapshots.key not in found and not snapshots.found(recipe.training.steps):
            fitting = [file for file in published() if not in_place(file) and fits(file, recipe)]
            found[snapshots.key] = Wanted(_chosen(fitting, f"network {recipe.network}", cell), cell)
    return list(found.values())


def _chosen(fitting: Sequence[Published], what: str, cell: Cell) -> Published:
    """One that is here already, or else the first of its paper's table."""
    if not fitting:
        steps = cell.recipe.training.steps
        raise InputError(
            f"--weights auto: no published weights are known for the {what} of row {cell.label!r} (on {cell.recipe.dataset}, "
            f"{steps:,} steps); `replicate weights list` has those that there are, `weights add` takes your own"
        )
    return next(filter(is_here, fitting), fitting[0])


def give(one: Wanted, place: Workplace) -> list[str]:
    """Fetch the file unless it is here, and make it the row's; returns what is to be said of it. Raises as these do."""
    path, recipe = fetch(one.file), one.cell.recipe
    said = f"{one.title}: {one.file.name}, {one.file.url}"
    if in_place(one.file):
        return [f"{said}; licence: {one.file.licence}"]
    if one.of_stage and recipe.first_stage:
        given = give_first_stage(recipe.first_stage, recipe.build_dataset(), path, place)
    else:
        given = give_network(recipe, path, place)
    return [said, *given.remarks]
