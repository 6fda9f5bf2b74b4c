"""Trainings, first stages and what measures images on a pretended device: nothing is mixed, and no step waits for it."""

from typing import Any

import pytest
from first_stages import DIGITS, stage
from pretended import CUDA, OnCuda, Pretended
from training_recipes import recipe

from replication.training.data import images_of
from replication.training.loop import TrainingState
from replication.training.recipe import Recipe
from replication.training.train import NetworkState
from replication.training.train_first_stage import FirstStageState

DIT = {"name": "dit", "depth": 1, "width": 16, "heads": 2, "patch": 2}
MM_DIT = {"name": "mm-dit", "depth": 1, "width": 16, "heads": 2, "patch": 2}
UNET = {"name": "ldm-unet", "width": 8, "multipliers": [1, 1], "blocks": 1, "attention": [2], "heads": 1, "groups": 4}
TEXT = {**UNET, "context": 8, "text_layers": 1, "text_heads": 2}
RECIPES: dict[str, dict[str, Any]] = {
    "simple": {},
    "simple-l1": {"objective": "simple-l1"},
    "bound": {"objective": "bound"},
    "bound, learned": {"objective": {"name": "bound", "variance": "learned"}},
    "hybrid": {"objective": "hybrid"},
    "rectified flow": {"objective": "rectified-flow", "schedule": "flow", "parameterization": "velocity"},
    "v, zero terminal": {"schedule": "zero_terminal_snr", "parameterization": "v"},
    "DiT": {"network": DIT, "condition": "label", "objective": "hybrid"},
    "MM-DiT": {"network": MM_DIT, "condition": "text"},
    "LDM, label": {"network": UNET, "condition": "label"},
    "LDM, text": {"network": TEXT, "condition": "text"},
    "accumulated": {"training": {"accumulate": 2, "precision": "bf16"}},
}


def of(name: str) -> Recipe:
    changes = dict(RECIPES[name])
    return Recipe.model_validate({**recipe().model_dump(), **changes, "training": {**recipe().training.model_dump(), **changes.get("training", {})}}).completed()  # fmt: skip


def waits_of_steps(state: TrainingState, data: Any, device: Pretended) -> None:
    """Three steps, the first of which copies what is copied once."""
    state.advance(data)
    device.waits.clear()
    for _ in range(2):
        step = state.advance(data)
    assert not device.waits, f"a step waits for the device: {device.waits}"
    assert isinstance(step.loss, OnCuda)
    assert bool(step.loss.of.isfinite())


@pytest.mark.parametrize("name", RECIPES)
def test_no_step_of_a_training_waits_for_the_device(name: str) -> None:
    """Catches indices copied at each step, a schedule's table that stays on the CPU, and a loss that is read."""
    with Pretended() as device:
        state = NetworkState(of(name), CUDA)
        waits_of_steps(state, images_of(state.dataset, state.settings, CUDA), device)


@pytest.mark.parametrize("kind", ["kl-f2", "vq-f2"])
def test_nor_one_of_a_first_stage(kind: str) -> None:
    """Catches a discriminator, a perceptual distance or a watch that lies on the CPU."""
    with Pretended() as device:
        state = FirstStageState(stage(kind), CUDA)
        waits_of_steps(state, images_of(DIGITS, state.settings, CUDA), device)
