"""The trainings behind the rows of a profile, each once, and the numbers of steps after which rows use them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from replication.datasets.dataset import Dataset
from replication.harness.jobs.cell import Cell
from replication.harness.jobs.first_stage import FirstStageCell
from replication.harness.workplace import Workplace
from replication.training.first_stage import FirstStage
from replication.training.snapshots import Snapshots


@dataclass(frozen=True)
class PlannedTraining:
    """`steps`: after which a snapshot is used, rising; the training goes on to the last of them."""

    title: str
    snapshots: Snapshots
    steps: list[int]

    def to_do(self) -> int:
        """How many steps are still to be done."""
        missing = [steps for steps in self.steps if not self.snapshots.found(steps)]
        if not missing:
            return 0
        behind = self.snapshots.before(missing[-1])
        return missing[-1] - (behind[0] if behind else 0)


def planned_trainings(
    cells: Sequence[Cell], stages: Sequence[FirstStageCell], place: Workplace
) -> list[PlannedTraining]:
    """First stages first, those that others are the decoders of before them; the title is of the first row that uses it."""
    wanted: list[tuple[str, Snapshots, int]] = []
    for stage in stages:
        wanted += _of_stage(stage.first_stage, stage.build_dataset(), place)
    for cell in cells:
        if cell.recipe.first_stage:
            wanted += _of_stage(cell.recipe.first_stage, cell.recipe.build_dataset(), place)
    wanted += [(cell.label, place.snapshots(cell.recipe), cell.recipe.training.steps) for cell in cells]
    found: dict[str, PlannedTraining] = {}
    for title, snapshots, steps in wanted:
        planned = found.setdefault(snapshots.key, PlannedTraining(title, snapshots, []))
        if steps not in planned.steps:
            planned.steps.append(steps)
            planned.steps.sort()
    return list(found.values())


def keeping(place: Workplace, planned: Sequence[PlannedTraining]) -> Workplace:
    """The workplace where each of these trainings keeps a snapshot at all of its steps, whichever is asked for first."""
    return replace(place, milestones={one.snapshots.key: one.steps for one in planned})


def _of_stage(stage: FirstStage, dataset: Dataset, place: Workplace) -> list[tuple[str, Snapshots, int]]:
    base = _of_stage(stage.decoder_of, dataset, place) if stage.decoder_of else []
    title = f"first stage {stage.name}, {dataset.resolution} px"
    return [*base, (title, place.stage_snapshots(stage, dataset), stage.training.steps)]
