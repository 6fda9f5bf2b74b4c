"""What a first stage's settings are and what is refused before anything is trained."""

from typing import Any

import pytest
from first_stages import DIGITS, PATCHGAN, stage
from pydantic import ValidationError

from replication.registry import DATASETS
from replication.training.first_stage import FirstStage
from replication.types import InputError

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "channels": ({"image_channels": 3}, "the autoencoder takes images of 3 channels, not 1"),
    "f": ({"kind": "kl-f16", "multipliers": [1, 1, 1, 1, 1]}, r"f = 16 does not divide the height of 8"),
    "levels": ({"multipliers": [1, 1, 1]}, "are 3 levels; f = 2 has 2"),
    "groups": ({"groups": 3}, "divisible"),
    "a codebook without a loss": (
        {"kind": "vq-f2", "loss": {"regularizer_weight": 0.0}},
        "regularizer_weight = 0 leaves the codebook without a gradient",
    ),
    "perceptual": ({"loss": {"perceptual": "features-cifar10-resnet"}}, "takes images of 32x32 pixels and 3 channels"),
    "perceptual name": ({"loss": {"perceptual": "features-digits"}}, "did you mean 'features-digits-cnn'"),
    "a discriminator too deep": (
        {"loss": {"discriminator": {**PATCHGAN, "layers": 3}}},
        "does not take images of 8x8 pixels and 1 channels",
    ),
    "a discriminator in colour": (
        {"loss": {"discriminator": {**PATCHGAN, "image_channels": 3}}},
        "does not take images",
    ),
    "a discriminator that never starts": (
        {"loss": {"discriminator_start": 6}},
        r"discriminator_start = 6 is never reached in training\.steps = 6",
    ),
    "flips": ({"training": {"flip": True}}, r"training\.flip = true: images of digits"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused_by_name(what: str) -> None:
    """Catches a traceback from torch in the middle of training, and settings that are accepted and do nothing."""
    changed, message = REFUSED[what]
    with pytest.raises(InputError, match=message):
        stage(**changed).check(DIGITS)


def test_the_small_ones_fit_and_pixels_have_nothing_to_train() -> None:
    stage().check(DIGITS)
    stage("vq-f2").check(DIGITS)
    identity = {"name": "identity", "image_channels": 1}
    pixels = FirstStage.model_validate({**stage().model_dump(), "autoencoder": identity})
    with pytest.raises(InputError, match=r"identity.*there is nothing to train"):
        pixels.check(DIGITS)


def test_an_unknown_key_and_an_unknown_pixel_loss_are_refused() -> None:
    with pytest.raises(ValidationError, match="pixle"):
        stage(loss={"pixle": "l1"})
    with pytest.raises(ValidationError, match="'l1' or 'l2'"):
        stage(loss={"pixel": "l3"})


def test_the_key_knows_everything_that_fixes_the_weights() -> None:
    """Exact. Catches an option, a loss, a setting or a dataset that does not enter the key, and one default spelt out."""
    different = [
        stage(), stage("vq-f2"), stage(width=8), stage(scaling="none"), stage(loss={"pixel": "l2"}),
        stage(loss={"perceptual": "none"}), stage(loss={"discriminator": None}), stage(loss={"regularizer_weight": 1e-5}),
        stage(loss={"discriminator": {**PATCHGAN, "width": 8}}), stage(loss={"adaptive_limit": 1.0}),
        stage(training={"seed": 2}),
    ]  # fmt: skip
    keys = [s.key(DIGITS) for s in different] + [stage().key(DATASETS.build("cifar10"))]
    assert len(set(keys)) == len(keys)
    assert stage(loss={"adaptive_limit": 1e4}).key(DIGITS) == stage().key(DIGITS)
