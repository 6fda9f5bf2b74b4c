"""The paper profiles are the papers': every row and first stage against the official settings in tests/official/.

A source there is one file of official code, or one table of a paper, with a mark: V where it was read, M where it is from
memory. `of` are the rows that follow it, "first stage NAME" for a first stage, with wildcards; their profile must have its
`settings`. `beside` are rows that follow another source where the two disagree: both stand there, and the disagreement must be
one. `not_stated` are settings that the source leaves open. Every row follows some source in each of the ALWAYS settings,
or a source of it says that it is not stated.

Keys are those of the profile: of a part, its name under its key, and an option of it, defaults included, below that.
"""

import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from replication.harness.experiment import Row, load_experiment
from replication.registry import (
    AUTOENCODERS,
    CONDITIONS,
    DISCRIMINATORS,
    MODELS,
    OBJECTIVES,
    PERCEPTUAL,
    SAMPLERS,
    SCHEDULES,
    SPACINGS,
    Registry,
)
from replication.settings import Part
from replication.training.first_stage import FirstStage

OFFICIAL = Path(__file__).parents[1] / "official"
EXPERIMENTS = ["ddpm", "dit", "ldm"]
TRAINED = ("steps", "batch_size", "accumulate", "learning_rate", "warmup", "grad_clip", "ema_decay", "flip", "crop")
ALWAYS = {f"training.{name}" for name in TRAINED}
SAMPLED = {"sampler", "clip", "dataset", "network", "schedule", "parameterization", "objective"}  # of a row
ENCODED = {"autoencoder", "loss.pixel", "loss.perceptual_weight"}  # of a first stage
PARTS: dict[str, Registry] = {
    "network": MODELS,
    "schedule": SCHEDULES,
    "objective": OBJECTIVES,
    "condition": CONDITIONS,
    "sampler": SAMPLERS,
    "spacing": SPACINGS,
    "autoencoder": AUTOENCODERS,
    "loss.perceptual": PERCEPTUAL,
    "loss.discriminator": DISCRIMINATORS,
}


class Source(NamedTuple):
    file: str
    mark: str
    settings: dict[str, Any]
    of: list[str] = []
    beside: list[str] = []
    not_stated: list[str] = []


@cache
def sources(experiment: str) -> list[Source]:
    content = tomllib.loads((OFFICIAL / f"{experiment}.toml").read_text(encoding="utf-8"))
    return [Source(**source) for source in content["source"]]


def flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The settings of a value under its key, of settings within it, and of a part with all its options."""
    if key and isinstance(value, FirstStage):
        yield key, value.name
    elif isinstance(value, Part):
        options = {**(PARTS[key].defaults(value.name) if key in PARTS else {}), **value.options}
        yield key, value.name
        yield from ((f"{key}.{option}", of) for option, of in options.items())
    elif hasattr(type(value), "model_fields"):
        for name in type(value).model_fields:
            yield from flat(f"{key}.{name}" if key else name, getattr(value, name))
    else:
        yield key, value


def settings_of(row: Row) -> dict[str, Any]:
    dataset = row.recipe.build_dataset()
    prepared = {"dataset.preprocessing": dataset.preprocessing, "dataset.resolution": dataset.resolution}
    return {**dict(flat("", row)), **dict(flat("", row.recipe.completed())), **prepared}


def profile_of(experiment: str, changes: dict[str, str] | None = None) -> list[tuple[str, dict[str, Any]]]:
    """The name and the settings of every first stage and row of profile paper."""
    profile = load_experiment(experiment, changes, "paper").profile("paper")
    images = profile.recipe.build_dataset()
    stages = [
        (f"first stage {name}", dict(flat("", stage.first_stage.completed(images))))
        for name, stage in profile.first_stages.items()
    ]
    return stages + [(row.label, settings_of(row)) for row in profile.rows]


def followed(experiment: str, name: str) -> list[Source]:
    return [source for source in sources(experiment) if any(fnmatchcase(name, of) for of in source.of)]


def differences(experiment: str, profile: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """What of a profile is not what the sources say that its rows follow."""
    return [
        f"{experiment}, {name}: {key} = {settings.get(key, 'absent')!r}, and {wanted!r} in {source.file} ({source.mark})"
        for name, settings in profile
        for source in followed(experiment, name)
        for key, wanted in source.settings.items()
        if settings.get(key, "absent") != wanted
    ]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_paper_profile_is_the_official_one(experiment: str) -> None:
    """Catches a setting that was changed, or never was the paper's."""
    assert not differences(experiment, profile_of(experiment))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_row_has_its_sources_and_every_source_its_rows(experiment: str) -> None:
    """Catches a row without sources, a setting that no source is asked about, and a pattern that fits nothing."""
    profile = profile_of(experiment)
    for name, _ in profile:
        known = {key for source in followed(experiment, name) for key in (*source.settings, *source.not_stated)}
        wanted = ALWAYS | (ENCODED if name.startswith("first stage ") else SAMPLED)
        assert not wanted - known, f"{name}: no source says"
    for source in sources(experiment):
        assert source.mark in ("V", "M")
        for pattern in (*source.of, *source.beside):
            assert any(fnmatchcase(name, pattern) for name, _ in profile), f"{source.file}: {pattern}"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_sources_that_stand_beside_disagree(experiment: str) -> None:
    """Catches a disagreement that has gone: then the source is one that the row follows."""
    profile = profile_of(experiment)
    for source in sources(experiment):
        for name, settings in profile:
            if any(fnmatchcase(name, beside) for beside in source.beside):
                assert {**settings, **source.settings} != settings, f"{source.file}: {name}"


@pytest.mark.parametrize(
    ("experiment", "key", "value", "message"),
    [
        ("ldm", "first_stages.vq-f8.training.learning_rate", "3.6e-5",
         "ldm, first stage vq-f8: training.learning_rate = 3.6e-05, and 4.5e-05 in CompVis/latent-diffusion: models/first_stage_models/vq-f8/config.yaml (V)"),
        ("ldm", "first_stages.vq-f4.loss.discriminator.layers", "2",
         "ldm, first stage vq-f4: loss.discriminator.layers = 2, and 3 in CompVis/latent-diffusion: models/first_stage_models/vq-f4/config.yaml (V)"),
        ("dit", "recipe.training.learning_rate", "2e-4", "dit, DiT-XL/2: training.learning_rate = 0.0002, and 0.0001 in"),
        ("ddpm", "recipe.schedule.T", "500", "ddpm, DDIM: schedule.T = 500, and 1000 in hojonathanho/diffusion"),
    ],
)  # fmt: skip
def test_a_changed_setting_fails_by_name(experiment: str, key: str, value: str, message: str) -> None:
    """Catches a comparison that compares nothing, and options of parts that it does not see."""
    assert any(text.startswith(message) for text in differences(experiment, profile_of(experiment, {key: value})))
