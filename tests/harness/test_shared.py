"""What many rows of a sweep have in common is typed, tried and spelled once, and rows come to the same keys."""

from pathlib import Path

import pytest
from harness.tiny import TOML

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.settings import Spelled, canonical_json, content_key
from replication.training.recipe import Recipe

ROW = """
[[profiles.cpu.rows]]
label = "{recipe.schedule} {recipe.training.seed} {protocol.seeds}"
sampler = "ddim"
spacing = "uniform"
steps = [2, 4]
clip = "none"
[profiles.cpu.rows.grid]
recipe.schedule = [{ name = "linear", T = 20 }, "cosine"]
recipe.training.seed = [0, 1]
protocol.seeds = [[0], [1], [2]]
"""


def test_equal_tables_are_one_object_and_a_network_is_tried_once(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve rows: four recipes on two schedules, three protocols, one network. Catches: what each row makes anew."""
    setting = TOML[TOML.index("[profiles.cpu]") : TOML.index("[[profiles.cpu.rows]]")]
    path = project / "experiments" / "grid.toml"
    path.write_text(f'title = "grid"\npapers = []\n{setting}{ROW}', encoding="utf-8")
    tried: list[str] = []
    fitting = Recipe._fitting_network
    monkeypatch.setattr("replication.training.recipe._FITTING", {})
    monkeypatch.setattr("replication.training.recipe._CHECKED", set())
    monkeypatch.setattr(Recipe, "_fitting_network", lambda recipe: tried.append(recipe.key) or fitting(recipe))
    cells = cells_of(load_experiment(str(path)), "cpu")
    assert len({cell.key for cell in cells}) == len(cells) == 24
    assert len({id(cell.recipe) for cell in cells}) == 4
    assert len({id(cell.recipe.build_schedule()) for cell in cells}) == 2
    assert len({id(cell.protocol) for cell in cells}) == 3
    assert len({id(cell.sampling.sampler) for cell in cells}) == 1
    assert len(tried) == 1


def test_a_key_of_what_was_spelled_before_is_that_of_the_whole() -> None:
    """Catches: another order, spaces, and letters that are escaped twice."""
    inner = {"b": [1, 2.5, None], "a": 'ö "quoted"'}
    whole = {"z": inner, "é": True, "a": {"nested": inner}}
    spelled = {"z": Spelled(inner), "é": True, "a": Spelled({"nested": Spelled(inner)})}
    assert canonical_json(spelled) == canonical_json(whole)
    assert content_key(spelled) == content_key(whole)


def test_what_was_spelled_is_never_taken_for_a_text() -> None:
    """Catches: a value deep inside that would enter a key as a text, or as its address."""
    with pytest.raises(TypeError):
        canonical_json({"a": {"b": [Spelled(1)]}})
