"""`--weights auto`: the published weights that rows lack, found by what the rows say, fetched and given to them."""

from collections.abc import Sequence
from typing import NamedTuple

from replication.harness.fetched_weights import encoders_of, fetch, fits, is_here, published, reads_text
from replication.harness.given_weights import give_first_stage, give_network
from replication.harness.jobs.cell import Cell
from replication.harness.workplace import Workplace
from replication.layers.weights import Published
from replication.types import InputError


class Wanted(NamedTuple):
    """A published file for a cell's network, its first stage or its condition."""

    file: Published
    cell: Cell
    of_stage: bool = False

    @property
    def title(self) -> str:
        stage, condition = self.cell.recipe.first_stage, self.cell.recipe.condition
        if reads_text(self.file) and condition:
            return f"condition {condition.name}"
        return f"first stage {stage.name}" if self.of_stage and stage else self.cell.label


def encoders(cells: Sequence[Cell]) -> list[Wanted]:
    """The text encoders that these cells lack, each once. Keys hold their content: they are fetched before anything else."""
    lacking = ((encoders_of(cell.recipe), cell) for cell in cells)
    return list({file.name: Wanted(file, cell) for file, cell in lacking if file is not None}.values())


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
            fitting = [file for file in published() if not reads_text(file) and fits(file, recipe)]
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
    if reads_text(one.file):
        return [f"{said}; licence: {one.file.licence}"]
    if one.of_stage and recipe.first_stage:
        given = give_first_stage(recipe.first_stage, recipe.build_dataset(), path, place)
    else:
        given = give_network(recipe, path, place)
    return [said, *given.remarks]
