"""The gpu profiles of the committed experiments: what their comments promise."""

import pytest

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.training.settings import Training

NAMES = ("ddpm", "ldm", "dit", "samplers", "scaling", "schedules", "parameterizations", "precision")


def left(training: Training) -> float:
    """The share of the first weights in the average at the end."""
    return training.ema_decay**training.steps


@pytest.mark.parametrize("name", NAMES)
def test_no_average_still_holds_its_first_weights(name: str) -> None:
    """0.999 over 2,000 steps left 14 % of them, and images of noise. Catches steps that are cut and a decay that is not."""
    of = {cell.label: cell.recipe for cell in cells_of(load_experiment(name), "gpu", check=False)}
    assert not [label for label, recipe in of.items() if left(recipe.training) >= 1e-3]
    stages = {recipe.first_stage.name: recipe.first_stage.training for recipe in of.values() if recipe.first_stage}
    assert not [stage for stage, training in stages.items() if left(training) >= 1e-3]


@pytest.mark.parametrize("name", NAMES)
def test_they_need_nothing_from_elsewhere(name: str) -> None:
    """A lent machine has no internet. Catches an extractor, or a perceptual loss, whose weights are downloaded."""
    for cell in cells_of(load_experiment(name), "gpu", check=False):
        assert str(cell.protocol.extractor) == "cifar10-resnet"
        stage = cell.recipe.first_stage
        assert stage is None or str(stage.loss.perceptual) == "none"
