"""The evening profiles of the committed experiments: what their comments promise."""

import pytest
import torch
from torch import nn

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import Cell, cells_of
from replication.registry import EXTRACTORS
from replication.training.loop import EMA
from replication.training.recipe import Recipe
from replication.training.settings import Training

NAMES = ("ldm", "guidance", "samplers", "dit", "scaling", "ddpm")


def cells(name: str) -> list[Cell]:
    return cells_of(load_experiment(name), "evening", check=False)


def left(training: Training) -> float:
    """The share of the first weights in the average at the end, as EMA averages them."""
    share = 1.0
    for step in range(1, training.steps + 1):
        decay = min(training.ema_decay, (1 + step) / (10 + step)) if training.ema_warmup else training.ema_decay
        share *= decay
    return share


@pytest.mark.parametrize("name", NAMES)
def test_no_average_still_holds_its_first_weights(name: str) -> None:
    """At most 0.1 %, in the rows of a tenth of a training too. Catches a decay that does not fit the steps."""
    trainings = {cell.label: cell.recipe.training for cell in cells(name)}
    stages = {s.name: s.training for cell in cells(name) if (s := cell.recipe.first_stage)}
    assert not [label for label, training in (trainings | stages).items() if left(training) >= 1e-3]


def test_the_share_that_is_left_is_that_of_the_average() -> None:
    """Within 1e-6 of what EMA keeps of weights of 1 under steps that set them to 0. Catches a warm-up that was written anew."""
    training = cells("scaling")[0].recipe.training.with_fields(steps=40)
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    ema = EMA(network, training.ema_decay, training.ema_warmup)
    network.weight.data.zero_()
    for step in range(1, training.steps + 1):
        ema.update(network, step)
    assert float(ema.weights["weight"]) == pytest.approx(left(training), abs=1e-6)
    assert torch.equal(network.weight, torch.zeros(1, 1))


@pytest.mark.parametrize("name", NAMES)
def test_the_judge_has_no_part_in_any_training(name: str) -> None:
    """Catches a perceptual loss by the extractor that measures the distance, and a judge that does not know the classes."""
    for cell in cells(name):
        assert str(cell.protocol.extractor) == "cifar10-resnet"
        assert cell.protocol.extractor.build(EXTRACTORS).classifies == "cifar10"
        stage = cell.recipe.first_stage
        assert stage is None or str(stage.loss.perceptual) == "features-efficientnet-lite0"


def test_what_is_trained_once_serves_every_table() -> None:
    """One class-conditional network, and first stages of one name. Catches a recipe that drifts apart, and costs hours."""

    def stage(recipe: Recipe) -> str:
        assert recipe.first_stage is not None
        return recipe.first_stage.key(recipe.build_dataset())

    by_class = {cell.recipe.key for cell in cells("ldm") if cell.label.startswith("class, guidance")}
    assert by_class == {cell.recipe.key for name in ("guidance", "samplers") for cell in cells(name)}
    on_latents = [cell.recipe for name in NAMES for cell in cells(name) if cell.recipe.first_stage]
    keys = {(recipe.first_stage.name, stage(recipe)) for recipe in on_latents if recipe.first_stage}
    assert sorted(name for name, _ in keys) == ["kl-f2", "kl-f4", "kl-f4-c8"]
    grown = [cell.recipe for cell in cells("ldm") if cell.label in ("class, a tenth", "class, guidance 1")]
    assert len({recipe.training_key for recipe in grown}) == 1
    assert sorted({recipe.training.steps for recipe in grown}) == [800, 8000]
