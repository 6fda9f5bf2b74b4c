"""The trainings behind the jobs of a profile, each once, and the numbers of steps after which jobs use them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from replication.datasets.dataset import Dataset
from replication.harness.workplace import Workplace
from replication.training.first_stage import FirstStage
from replication.training.recipe import Recipe
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


def trainings_of_stage(stage: FirstStage, dataset: Dataset, place: Workplace) -> list[PlannedTraining]:
    """A first stage's, behind that of the one that it is the decoder of."""
    bases = trainings_of_stage(stage.decoder_of, dataset, place) if stage.decoder_of else []
    title = f"first stage {stage.name}, {dataset.resolution} px"
    return [*bases, PlannedTraining(title, place.stage_snapshots(stage, dataset), [stage.training.steps])]


def trainings_of_recipe(title: str, recipe: Recipe, place: Workplace) -> list[PlannedTraining]:
    """A network's, behind that of its first stage."""
    stages = trainings_of_stage(recipe.first_stage, recipe.build_dataset(), place) if recipe.first_stage else []
    return [*stages, PlannedTraining(title, place.snapshots(recipe), [recipe.training.steps])]


def planned_trainings(wanted: Iterable[PlannedTraining]) -> list[PlannedTraining]:
    """Each training once, in the order given, with the first title and the steps of all."""
    found: dict[str, PlannedTraining] = {}
    for one in wanted:
        steps = found[one.snapshots.key].steps if one.snapshots.key in found else []
        found.setdefault(one.snapshots.key, replace(one, steps=steps)).steps[:] = sorted({*steps, *one.steps})
    return list(found.values())


def keeping(place: Workplace, planned: Sequence[PlannedTraining]) -> Workplace:
    """The workplace where each of these trainings keeps a snapshot at all of its steps, whichever is asked for first."""
    return replace(place, milestones={one.snapshots.key: one.steps for one in planned})
