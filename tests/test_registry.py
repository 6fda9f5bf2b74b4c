"""The registries: the names that outsiders import, and what a wrong name or option is answered."""

import pytest

from replication import registry
from replication.registry import MODELS, SAMPLERS, SCHEDULES, SPACINGS, Registry
from replication.types import InputError

CONTRACT = {
    "SCHEDULES": {"linear", "scaled_linear", "quadratic", "cosine"},
    "SPACINGS": {"uniform", "quadratic"},
    "SAMPLERS": {"ancestral", "ddim"},
    "OBJECTIVES": {"simple", "bound", "hybrid", "rectified-flow"},
    "MODELS": {"ddpm-cifar10", "ddpm-256", "ddpm-digits", "ldm-celebahq-4", "sd-v1", "dit", "mm-dit"}
    | {f"dit-{size}/{patch}" for size in ("s", "b", "l", "xl") for patch in (8, 4, 2)},
    "DATASETS": {"digits", "cifar10"},
    "CONDITIONS": {"label", "text", "clip-text", "t5-text"},
    "EXTRACTORS": set(),
}


@pytest.mark.parametrize("kind", CONTRACT)
def test_the_contract_names_are_there(kind: str) -> None:
    """Catches a part that is written but not registered, or registered under another name."""
    names = getattr(registry, kind).names()
    assert set(names) >= CONTRACT[kind]
    assert names == sorted(names)


@pytest.mark.parametrize("kind", CONTRACT)
def test_every_part_says_what_it_is(kind: str) -> None:
    for name in getattr(registry, kind).names():
        assert (getattr(registry, kind).get(name).__doc__ or "").strip(), f"{kind} {name} has no docstring"


@pytest.mark.parametrize("kind", ["SCHEDULES", "SPACINGS", "SAMPLERS", "OBJECTIVES"])
def test_every_part_has_a_version_and_can_be_built_from_defaults(kind: str) -> None:
    """Catches a part whose version can't be raised, and one that a sweep could not name without options."""
    for name in getattr(registry, kind).names():
        assert getattr(registry, kind).build(name).version >= 1


def test_the_public_names_of_the_mathematics() -> None:
    from replication.diffusion import Denoiser, sample

    assert callable(Denoiser)
    assert callable(sample)


@pytest.mark.parametrize(
    ("parts", "wrong", "nearest"),
    [(SAMPLERS, "ddmi", "ddim"), (SCHEDULES, "lineer", "linear"), (MODELS, "ddpm_cifar10", "ddpm-cifar10")],
)
def test_an_unknown_name_gets_the_nearest_and_all(parts: Registry, wrong: str, nearest: str) -> None:
    with pytest.raises(InputError) as caught:
        parts.build(wrong)
    assert f"unknown {parts.kind} {wrong!r}; did you mean {nearest!r}?" in str(caught.value)
    assert all(name in str(caught.value) for name in parts.names())


def test_a_name_like_no_other_gets_no_guess() -> None:
    with pytest.raises(InputError, match="unknown spacing 'xyz'") as caught:
        SPACINGS.build("xyz")
    assert "did you mean" not in str(caught.value)


def test_unknown_and_missing_options_are_named() -> None:
    with pytest.raises(InputError, match="sampler 'ddim': unknown option 'etta'; did you mean 'eta'"):
        SAMPLERS.build("ddim", etta=0.5)
    parts = Registry("part")
    parts.register("needs-one")(lambda size: size)
    with pytest.raises(InputError, match=r"part 'needs-one'.*'size'"):
        parts.build("needs-one")


def test_a_name_is_registered_once() -> None:
    parts = Registry("part")
    parts.register("a", "b")(dict)
    with pytest.raises(ValueError, match="'b' is registered twice"):
        parts.register("b")(list)
