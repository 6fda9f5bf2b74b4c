"""The registries: the names that outsiders import, and what a wrong name or option is answered."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from replication import registry
from replication.registry import MODELS, REGISTRIES, SAMPLERS, SCHEDULES, SPACINGS, Registry
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
    "METRICS": {
        "fd",
        "fd_infinity",
        "sfd",
        "kid",
        "is",
        "precision",
        "recall",
        "density",
        "coverage",
        "nll",
        "psnr",
        "ssim",
    },
    "CLAIMS": {"tradeoff", "share", "prior", "value", "ratio", "ordering", "trend", "equivalence"},
}


@pytest.mark.parametrize("kind", CONTRACT)
def test_the_contract_names_are_there(kind: str) -> None:
    """Catches a part that is written but not registered, or registered under another name."""
    names = getattr(registry, kind).names()
    assert set(names) >= CONTRACT[kind]
    assert names == sorted(names)


OWN = {  # parts that no paper has; every other names its source
    "list", "lms", "gaussian-oracle", "identity", "none", "gaussian", "own-images", "cifar10-resnet", "digits-cnn", "values",
    "cell", "first stage", "diffusers", "training_days", "training_gigabytes", "image_rms",
}  # fmt: skip


@pytest.mark.parametrize("parts", REGISTRIES.values(), ids=REGISTRIES)
def test_every_part_is_explained_by_one_line_with_its_source(parts: Registry) -> None:
    """What `replicate list` shows. Catches "No options.", half a sentence, and a part without the paper it is from.

    Kinds of claims are this project's own.
    """
    for name in parts.names():
        line = parts.summary(name)
        assert len(line) >= 25, f"{name}: {line}"
        assert line.endswith("."), f"{name}: {line}"
        assert name in OWN or parts is registry.CLAIMS or re.search(r"\b(19|20)\d\d[a-z]?\b", line), (
            f"{name}: no source: {line}"
        )


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
    parts = Registry("PARTS", "part")
    parts.register("needs-one")(lambda size: size)
    with pytest.raises(InputError, match=r"part 'needs-one'.*'size'"):
        parts.build("needs-one")


def test_a_name_is_registered_once() -> None:
    parts = Registry("PARTS", "part")
    parts.register("a", "b")(dict)
    with pytest.raises(ValueError, match="'b' is registered twice"):
        parts.register("b")(list)


NAMES = "import sys; from replication.registry import REGISTRIES as r; print(sum(len(p.names()) for p in r.values())); "


def test_names_and_what_they_are_need_no_torch() -> None:
    """Catches a module that registers under names which are no literals, and so has to be imported to be searched."""
    code = (
        NAMES
        + "[p.summary(n) for p in r.values() for n in p.names()]; assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("parts", REGISTRIES.values(), ids=REGISTRIES)
def test_the_source_and_the_imported_modules_name_the_same_parts(parts: Registry) -> None:
    """Catches a registration that the reader of the source misses, and a summary that is another part's."""
    for name in parts.names():
        assert parts.summary(name) == (parts.get(name).__doc__ or "").strip().splitlines()[0]


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package `foreign` that offers its modules as parts, with a module in them that cannot be imported."""
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/__init__.py").write_text("")
    (tmp_path / "foreign/halves.py").write_text(
        "from __future__ import annotations\nfrom replication.registry import SAMPLERS\n"
        '@SAMPLERS.register("half", "ddim")\nclass Half:\n    """Half a step."""\n    version = 3\n'
        "    def __init__(self, eta: float = 0.5, free=1): self.eta = eta\n"
    )
    (tmp_path / "foreign/broken.py").write_text(
        "from replication.registry import SAMPLERS\nimport nowhere\n"
        '@SAMPLERS.register("lost")\nclass Lost:\n    """Lost."""\n'
    )
    (tmp_path / "foreign/unread.py").write_text("from replication.registry import SAMPLERS\n@SAMPLERS.register(\n")
    (tmp_path / "foreign/.#halves.py").write_text("@SAMPLERS.register(")
    (tmp_path / "foreign-1.dist-info").mkdir()
    (tmp_path / "foreign-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1\n")
    (tmp_path / "foreign-1.dist-info/entry_points.txt").write_text(
        "[replication.parts]\nforeign = foreign\ngone = not_installed.parts\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "SAMPLERS", Registry("SAMPLERS", "sampler", "diffusion/samplers"))
    for name in [name for name in sys.modules if name.split(".")[0] == "foreign"]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def test_a_part_of_another_package_is_found_by_its_entry_point(foreign: Path) -> None:
    parts = registry.SAMPLERS
    assert {"half", "lost", "heun"} <= set(parts.names())
    assert parts.summary("half") == "Half a step."
    assert parts.identity("half", {"eta": 1.0}) == {"name": "half", "options": {"eta": 1.0, "free": 1}, "version": 3}
    with pytest.raises(InputError, match=r"option 'eta'.* not 'x'"):
        parts.build("half", eta="x")


def test_what_cannot_be_imported_or_read_is_named_and_stops_nothing_else(foreign: Path) -> None:
    parts = registry.SAMPLERS
    assert parts.build("half").eta == 0.5
    with pytest.raises(InputError, match=r"cannot be imported: ModuleNotFoundError.*nowhere.*\(broken.py, line 2\)"):
        parts.build("lost")
    with pytest.raises(InputError, match=r"unknown sampler 'x'.*not_installed.parts was not searched") as caught:
        parts.build("x")
    assert "foreign.unread was not searched" in str(caught.value)
    assert {"half", "lost"} & {name for name, _ in parts.built()} == {"half"}
    assert any("nowhere" in reason for reason in parts.unreadable)


def test_one_name_of_two_modules_is_an_error_that_names_both(foreign: Path) -> None:
    """Ours and a stranger's `ddim`: neither is taken silently."""
    with pytest.raises(InputError, match=r"'ddim' is registered twice, in foreign.halves and in replication\.diff"):
        registry.SAMPLERS.build("ddim")


def test_a_folder_of_the_package_is_searched_without_an_entry_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paper is a folder: what registers a model in it is found."""
    (tmp_path / "next_paper").mkdir()
    (tmp_path / "next_paper/unet.py").write_text('@MODELS.register("next-s")\ndef s(): ...\n')
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    assert "next-s" in Registry("MODELS", "model", *MODELS.folders).names()


def test_a_part_is_named_by_module_and_attribute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the current folder is enough; a class and a function alike."""
    (tmp_path / "own_parts.py").write_text(
        "class Mine:\n    version = 2\n    def __init__(self, eta: float = 0.5): self.eta = eta\n"
        "def made(size: int) -> Mine: return Mine(size)\n"
        "def typed(size: 'OnlyForTypeCheckers') -> 'Either': return size\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    assert SAMPLERS.build("own_parts:Mine", eta=0.25).eta == 0.25
    assert SAMPLERS.identity("own_parts:made", {"size": 3}) == {
        "name": "own_parts:made", "options": {"size": 3}, "version": 2,
    }  # fmt: skip
    assert SAMPLERS.build("own_parts:typed", size=3) == 3
    with pytest.raises(InputError, match="unknown sampler in own_parts 'Mien'; did you mean 'Mine'"):
        SAMPLERS.build("own_parts:Mien")
    with pytest.raises(
        InputError, match=r"own_part cannot be imported: ModuleNotFoundError: No module named 'own_part'$"
    ):
        SAMPLERS.build("own_part:Mine")
