"""Whatever stands in an experiment's file, planning it ends in a plan or in one message that leads to the place."""

import random
import tomllib
from pathlib import Path
from typing import Any

import pytest
from harness.mutated_toml import complaint, mutated, text_of
from harness.tiny import TOML

from replication.harness.experiment import load_experiment
from replication.types import InputError

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

SETTINGS = {"deadline": None, "derandomize": True, "suppress_health_check": list(hypothesis.HealthCheck)}


def check(project: Path, content: dict[str, Any]) -> None:
    path = project / "experiments" / "mutant.toml"
    path.write_text("\n".join(text_of({key: value})[1:-1] for key, value in content.items()), encoding="utf-8")
    said = complaint(path, "cpu")
    assert "\n" not in said
    assert not said or str(path) in said


@hypothesis.settings(max_examples=150, **SETTINGS)
@hypothesis.given(data=st.data())
def test_a_file_with_one_slip_is_planned_or_refused_in_one_message(project: Path, data: Any) -> None:
    """Catches: a TypeError where tables are merged before they are typed, a number that no key can hold, a message without
    its file, and one that breaks a line."""
    check(project, mutated(tomllib.loads(TOML), lambda options: data.draw(st.sampled_from(options))))


@hypothesis.settings(max_examples=50, **SETTINGS)
@hypothesis.given(
    at=st.integers(0, len(TOML)),
    gone=st.integers(0, 5),
    put=st.sampled_from(["", "\ufeff", "[", '"', "=", "\n", "\x00", "é"]),
)
def test_a_text_with_one_slip_likewise(project: Path, at: int, gone: int, put: str) -> None:
    path = project / "experiments" / "mutant.toml"
    path.write_text(TOML[:at] + put + TOML[at + gone :], encoding="utf-8")
    said = complaint(path, "cpu")
    assert "\n" not in said
    assert not said or str(path) in said


def test_the_slips_are_of_many_kinds(project: Path) -> None:
    """Of 60 by a fixed seed, some are valid files and most are not. Catches: a fuzz that changes nothing."""
    choose, content = random.Random(0).choice, tomllib.loads(TOML)
    mutants = [mutated(content, choose) for _ in range(60)]
    assert sum(mutant == content for mutant in mutants) < 6
    assert len({repr(mutant) for mutant in mutants}) > 50


def test_tables_within_tables_have_an_end(tmp_path: Path) -> None:
    """Three thousand dotted keys are valid TOML. Catches a RecursionError of whatever reads them after the parser."""
    path = tmp_path / "deep.toml"
    path.write_text('title = "x"\npapers = []\nprofiles.cpu' + ".a" * 3000 + " = 1\n")
    with pytest.raises(InputError, match=r"deep\.toml: profiles\.cpu\.a.*more than 50 deep"):
        load_experiment(str(path))
