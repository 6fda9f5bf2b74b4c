"""What follows from the other parts of a recipe is no option that anyone has to state."""

import pytest

from replication.registry import MODELS
from replication.training.recipe import Recipe

DIT = {"name": "dit", "depth": 1, "width": 16, "heads": 2, "patch": 2}
UNET = {
    "name": "ldm-unet", "width": 8, "multipliers": [1, 1], "blocks": 1, "attention": [2], "heads": 1, "groups": 2,
}  # fmt: skip
TRAINING = {
    "steps": 2, "batch_size": 8, "learning_rate": 1e-3, "warmup": 1, "ema_decay": 0.5, "flip": False,
}  # fmt: skip
AUTOENCODER = {
    "name": "kl-f2", "width": 4, "multipliers": [1, 1], "blocks": 1, "groups": 2, "latent_channels": 2,
}  # fmt: skip
STAGE = {
    "name": "small", "autoencoder": AUTOENCODER, "loss": {"perceptual": "none", "regularizer_weight": 1e-6}, "training": TRAINING,
}  # fmt: skip


def recipe(network: object, **changes: object) -> Recipe:
    table = {
        "dataset": "digits", "network": network, "schedule": "linear", "parameterization": "eps", "objective": "simple",
        "training": TRAINING,
    }  # fmt: skip
    return Recipe.model_validate({**table, **changes})


@pytest.mark.parametrize(
    ("given", "derived"),
    [
        (recipe(DIT, condition="label", objective="hybrid"), {"channels": 1, "resolution": 8, "classes": 10}),
        (recipe(DIT, condition="label"), {"channels": 1, "resolution": 8, "classes": 10, "learned_variance": False}),
        (recipe(UNET), {"channels": 1, "resolution": 8}),
        (recipe(UNET, first_stage=STAGE), {"channels": 2, "resolution": 4}),
        (recipe({**UNET, "context": 8}, condition="text"), {"channels": 1, "resolution": 8, "vocabulary": 35, "length": 12}),
        (recipe("ddpm-digits", objective="hybrid"), {"learned_variance": True}),
        (recipe("ddpm-digits"), {}),
    ],
)  # fmt: skip
def test_options_that_follow_are_filled_in_and_fit(given: Recipe, derived: dict[str, object]) -> None:
    """Exact. Catches an option that is filled in though it is the default, which would change the network's name in tables,
    one that is missing, and the resolution of images where the network sees latents.
    """
    completed = given.completed()
    assert completed.network.options == {**derived, **given.network.options}
    completed.check()
    stated = given.with_fields(first_stage=completed.first_stage, network=completed.network)
    assert stated.key == completed.key
    if given.first_stage:
        assert completed.first_stage is not None
        assert completed.first_stage.autoencoder.options["image_channels"] == 1


def test_what_is_stated_stays() -> None:
    """Catches a wrong statement that is put right in silence: it is for `check` to refuse."""
    stated = recipe({**DIT, "resolution": 16, "classes": 3}, condition="label").completed().network
    assert (stated.options["resolution"], stated.options["classes"]) == (16, 3)
    assert stated.identity(MODELS)["options"]["channels"] == 1
