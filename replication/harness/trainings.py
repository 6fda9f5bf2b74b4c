"""The trainings behind the jobs of a profile, each once, and the numbers of steps after which jobs use them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from replication.datasets.dataset import Dataset
from replication.harness.workplace import Workplace
from replication.training.first_stage import FirstStage
from replication.training.recipe import Recipe
from replication.training.snapshots import Snapshots


class Wanted(NamedTuple):
    """One snapshot that a job needs: of which training, and after how many steps."""

    title: str
    snapshots: Snapshots
    steps: int


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


def wanted_by_stage(stage: FirstStage, dataset: Dataset, place: Workplace) -> list[Wanted]:
    """A first stage behind those that it is the decoder of."""
    bases = wanted_by_stage(stage.decoder_of, dataset, place) if stage.decoder_of else []
    title = f"first stage {stage.name}, {dataset.resolution} px"
    return [*bases, Wanted(title, place.stage_snapshots(stage, dataset), stage.training.steps)]


def wanted_by_recipe(title: str, recipe: Recipe, place: Workplace) -> list[Wanted]:
    """A network behind its first stage."""
    stages = wanted_by_stage(recipe.first_stage, recipe.build_dataset(), place) if recipe.first_stage else []
    return [*stages, Wanted(title, place.snapshots(recipe), recipe.training.steps)]


def planned_trainings(wanted: Iterable[Wanted]) -> list[PlannedTraining]:
    """Each training once, in the order given and with the first title."""
    found: dict[str, PlannedTraining] = {}
    for title, snapshots, steps in wanted:
        planned = found.setdefault(snapshots.key, PlannedTraining(title, snapshots, []))
        planned.steps[:] = sorted({*planned.steps, steps})
    return list(found.values())


def keeping(place: Workplace, planned: Sequence[PlannedTraining]) -> Workplace:
    """The workplace where each of these trainings keeps a snapshot at all of its steps, whichever is asked for first."""
    return replace(place, milestones={one.snapshots.key: one.steps for one in planned})
