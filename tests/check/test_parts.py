"""The contract tests over the registries: every part that is added is measured, before anyone writes a test for it."""

import inspect
from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from replication.check.diffusion import check_objective, check_schedule, check_spacing
from replication.check.measuring import check_dataset, check_extractor, check_metric
from replication.check.models import Finding, check_model
from replication.diffusion.objectives.simple import Simple
from replication.diffusion.spacing import Spacing
from replication.registry import DATASETS, EXTRACTORS, METRICS, MODELS, OBJECTIVES, SCHEDULES, SPACINGS

TINY = {"depth": 2, "width": 16, "heads": 2, "patch": 2, "resolution": 8}
UNET = {"resolution": 8, "channels": 2, "width": 16, "multipliers": [1, 2], "blocks": 1, "attention": [2], "heads": 2,
        "groups": 8}  # fmt: skip
DDPM = {"resolution": 8, "channels": 2, "width": 16, "multipliers": [1, 2], "blocks": 1, "attention": [4], "groups": 8}
TEXT = {"context": 16, "vocabulary": 9, "length": 4, "text_layers": 1, "text_heads": 2}
SMALL: list[tuple[str, dict[str, Any]]] = [
    *[("dit", {**TINY, "block": block}) for block in ("adaln-zero", "adaln", "cross-attention", "in-context")],
    ("dit", {**TINY, "classes": 0, "learned_variance": False, "qk_norm": True}),
    ("sit", TINY),
    ("mm-dit", {**TINY, "length": 4, "vocabulary": 9}),
    ("mm-dit", {**TINY, "length": 4, "context": 12}),
    ("ddpm-unet", {**DDPM, "dropout": 0.1}),
    ("ddpm-unet", {**DDPM, "classes": 3, "learned_variance": True}),
    ("ldm-unet", UNET),
    ("ldm-unet", {**UNET, "classes": 3, "scale_shift": True, "resampling_blocks": True}),
    ("ldm-unet", {**UNET, "classes": 3, "context": 16, "learned_variance": True}),
    ("ldm-unet", {**UNET, **TEXT}),
    ("ldm-unet", {**UNET, "context": 16}),
]
NAMES = MODELS.names()  # those of the commands' tests, which register parts of their own, left out
FULL_SIZE = [name for name in NAMES if inspect.Parameter.empty not in MODELS.defaults(name).values()]


def failed(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if not finding.ok]


@pytest.mark.parametrize(("name", "options"), SMALL, ids=str)
def test_every_model_with_options_for_its_size_in_numbers(name: str, options: dict[str, Any]) -> None:
    """Catches a parameter that nothing reads, a norm over the batch, NaN, and a network that ignores its timestep or cond."""
    assert failed(check_model(partial(MODELS.build, name, **options))) == []


def test_every_model_is_visited() -> None:
    """A model with options that must be stated needs a line above; diffusers has tests/harness/test_networks_of_others.py."""
    assert {*NAMES} == {*FULL_SIZE, *(name for name, _ in SMALL), "diffusers"}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_every_model_of_a_published_size(name: str) -> None:
    """In numbers up to a million parameters, without memory above. Catches a size whose layers don't fit each other, and a
    parameter that nothing reads."""
    found = list(check_model(partial(MODELS.build, name), largest=1_000_000))
    assert len(found) >= 3
    assert failed(found) == []


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_every_schedule(name: str) -> None:
    assert failed(check_schedule(SCHEDULES.build(name))) == []


@pytest.mark.parametrize("name", SPACINGS.names())
def test_every_spacing(name: str) -> None:
    if name == "list":
        pytest.skip("its one list of times is of one number of steps")
    assert failed(check_spacing(SPACINGS.build(name))) == []


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_every_objective(name: str) -> None:
    assert failed(check_objective(OBJECTIVES.build(name))) == []


@pytest.mark.parametrize("name", DATASETS.names())
def test_every_dataset(name: str) -> None:
    assert failed(check_dataset(DATASETS.build(name))) == []


@pytest.mark.parametrize("name", EXTRACTORS.names())
def test_every_extractor(name: str) -> None:
    if name == "inception-v3-compat":
        pytest.skip("a minute of work; tests/metrics/test_inception.py checks it")
    assert failed(check_extractor(EXTRACTORS.build(name))) == []


@pytest.mark.parametrize("name", METRICS.names())
def test_every_metric(name: str) -> None:
    assert failed(check_metric(METRICS.build(name))) == []


class Wrong(nn.Module):
    """A norm over the batch, a parameter that nothing reads, and no use of the timestep."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.unused, self.norm = nn.Conv2d(1, 1, 1), nn.Linear(2, 2), nn.BatchNorm2d(1)

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.layer(x - x.mean())


def test_a_wrong_network_fails_where_it_is_wrong() -> None:
    """Catches checks that pass whatever they look at."""
    names = [finding.name for finding in failed(check_model(Wrong))]
    assert names == [
        "parameters without a gradient",
        "state beside the parameters, which no checkpoint keeps",
        "difference that the batch makes",
        "difference that another timestep makes",
    ]


class Rising(Spacing):
    def times(self, schedule: Any, n_steps: int) -> Tensor:
        return torch.linspace(0, 1, n_steps + 1)


class Shared(Simple):
    """A loss that is shared over the batch."""

    def __call__(self, *arguments: Any) -> Tensor:
        loss = super().__call__(*arguments)
        return loss.mean().expand(len(loss))


def test_a_wrong_spacing_and_a_wrong_objective_fail_where_they_are_wrong() -> None:
    """Catches checks that pass whatever they look at: float32, rising times, and images that share one loss."""
    assert len(failed(check_spacing(Rising()))) == 9
    assert [finding.name for finding in failed(check_objective(Shared()))] == ["difference that the batch makes"]
