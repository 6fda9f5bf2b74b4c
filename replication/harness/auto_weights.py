"""`--weights auto`: the published weights that rows lack, found by what the rows say, fetched and given to them."""

from collections.abc import Sequence
from typing import NamedTuple

from replication.harness.fetched_weights import fetch, fits, is_here, published
from replication.harness.given_weights import Given, give_first_stage, give_network
from replication.harness.jobs.cell import Cell
from replication.harness.workplace import Workplace
from replication.layers.weights import Published
from replication.types import InputError


class Wanted(NamedTuple):
    """A published file for a cell's network, or for its first stage."""

    file: Published
    cell: Cell
    of_stage: bool

    @property
    def title(self) -> str:
        stage = self.cell.recipe.first_stage
        return f"first stage {stage.name}" if self.of_stage and stage else self.cell.label


def wanted(cells: Sequence[Cell], place: Workplace) -> list[Wanted]:
    """What these cells lack, each once, a first stage before the networks in its latents.

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
            fitting = [file for file in published() if fits(file, recipe)]
            found[snapshots.key] = Wanted(_chosen(fitting, f"network {recipe.network}", cell), cell, False)
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


def give(one: Wanted, place: Workplace) -> Given:
    """Fetch the file unless it is here, and make it the row's; raises as these do."""
    path, recipe = fetch(one.file), one.cell.recipe
    if one.of_stage and recipe.first_stage:
        return give_first_stage(recipe.first_stage, recipe.build_dataset(), path, place)
    return give_network(recipe, path, place)
