"""The language of an experiment's TOML, written out here as the plain tables that `Experiment` types and checks.

A part is given by its name, "uniform", or with options, { name = "ddim", eta = 0.5 }. A protocol is a part of
experiments/protocols/, a first stage one of the profile's own `first_stages`. What else a table may hold are the fields of its
class in experiment.py; an unknown key is an error that lists the valid ones. Three ideas keep a file short:

    base = "NAME"   in any table: it starts from that table and changes single keys of it. NAME is, whichever is found first,
                    1. a table beside it: of that key in the same table, of that label or name in the same list;
                    2. this file's [bases.NAME];
                    3. "FILE.NAME", profile NAME or [bases.NAME] of the experiment FILE beside this one; "FILE" alone has
                       the key of the table itself: under [profiles.cpu], base = "ddpm" is profile cpu of ddpm.toml.

    merging         A change is written over what it changes key by key; a list or a value replaces the whole. So it is with
                    the options of a part: network = { block = "adaln" } changes one option of the network, while another
                    name, network = { name = "mm-dit", ... }, replaces the network and all its options. Thus a table is
                    changed by one with a base, a profile's recipe and protocol by those of a row, and the profile by
                    `--set recipe.network.width=64`.

    grid            in a row, which then stands for a row of each combination, the last axis fastest. An axis is a key of
                    the row with a list of values, or a name of its own with named changes to the row; {AXIS} in the label
                    stands for the value or the name. `exclude` lists the combinations that are left out.

                        label = "DiT, {size}, seed {recipe.training.seed}"
                        exclude = [{ size = "2x", recipe.training.seed = 1 }]
                        [profiles.cpu.rows.grid]
                        size = { 1x = { recipe.network.width = 56 }, 2x = { recipe.network.width = 80 } }
                        recipe.training.seed = [0, 1]

Resolution, channels, classes and the like are never stated: `Recipe.completed` derives them.
"""

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from replication.harness.grid import nested, rows_of_grid
from replication.harness.home import experiments_beside
from replication.registry import unknown
from replication.settings import merged
from replication.types import InputError

Table = dict[str, Any]
OF_TABLE = ("dataset", "published")  # what a first stage says of its row in the table, and not of itself


def read_toml(path: Path) -> Table:
    """The file's content; raises InputError where it is no TOML or can't be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: this is not valid TOML: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def written_out(path: Path, settings: Mapping[str, str], profile: str, keys: Collection[str]) -> Table:
    """The content of an experiment's file, with `--set` changes to one profile, as if the language had no shorthands.

    keys: those of a row, which no axis of a grid may be named like. What is of a wrong type is left as it is, for the
    typed Experiment to find. Raises InputError naming the file and the key.
    """
    content = _File(path).content()
    profiles = {name: table for name, table in _table(content.get("profiles")).items() if isinstance(table, dict)}
    if settings and profile not in profiles:
        raise unknown(f"profile of {path.name}", profile, list(profiles))
    for key, value in settings.items():
        profiles[profile] = merged(profiles[profile], nested(key, toml_value(value)))
    for name, table in profiles.items():
        content["profiles"][name] = _profile(table, keys, f"{path}: profiles.{name}")
    return content


def beside(path: Path, name: str) -> Path:
    """The experiment of that name: in the same folder, else the project's or the suite's. InputError names the nearest."""
    found = experiments_beside(path)
    if name not in found:
        raise unknown("experiment", name, sorted(found))
    return found[name]


def toml_value(text: str) -> Any:
    """The value of a `--set`: read as TOML, and as a bare string where that fails."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


class _File:
    """A TOML file, whose tables may start from each other and from those of the files beside it."""

    def __init__(self, path: Path):
        self.path, self.raw = path, read_toml(path)

    def content(self) -> Table:
        """All but the bases, each table with what it starts from written into it."""
        return {key: self._whole(value, key, self.raw) for key, value in self.raw.items() if key != "bases"}

    def _whole(self, value: Any, where: str, around: Any, trail: tuple[str, ...] = ()) -> Any:
        """The value, with bases written into it and into all tables in it; `around` is the table or list that it is in.

        trail: the tables that start from this one.
        """
        if isinstance(value, list):
            return [self._whole(entry, f"{where}[{i}]", value, trail) for i, entry in enumerate(value)]
        if not isinstance(value, dict):
            return value
        own = {key: self._whole(below, f"{where}.{key}", value, trail) for key, below in value.items() if key != "base"}
        if "base" not in value:
            return own
        here, name = f"{self.path}: {where}", value["base"]
        try:
            if here in trail:
                raise InputError("tables start from each other, in a circle")
            file, base, where, around = self._base(str(name), where, around, value)
        except InputError as error:
            raise InputError(f"{here}.base: {error}") from error
        return merged(_table(file._whole(base, where, around, (*trail, here))), own)

    def _base(self, name: str, where: str, around: Any, value: Table) -> tuple["_File", Any, str, Any]:
        """(file, table, where it is, what it is in) of a name in the table `value`; raises InputError with the nearest."""
        above, _, key = where.rpartition(".") if isinstance(around, dict) else (where.rpartition("[")[0], "", "")
        valid: list[str] = []
        for place, tables in ((above, around), ("bases", self.raw.get("bases"))):
            for of, (at, table) in _named(tables).items():
                if of == name and table is not value:
                    return self, table, f"{place}{at}", tables
                valid += [of] if table is not value else []
        file, _, rest = name.partition(".")
        others = sorted(experiments_beside(self.path))
        if file not in others or not (rest or key):
            raise unknown("table", name, [*valid, *others])
        other, valid = _File(beside(self.path, file)), []
        for kind in ("profiles", "bases"):
            for of, (at, table) in _named(tables := other.raw.get(kind)).items():
                if of == (rest or key):
                    return other, table, f"{kind}{at}", tables
                valid.append(of)
        raise unknown(f"table of {other.path.name}", rest or key, valid)


def _named(tables: Any) -> dict[str, tuple[str, Table]]:
    """(where it is, table) of the tables in a table by key, and of those in a list by label or name, the first of equals."""
    if isinstance(tables, list):
        entries = [(f"[{i}]", entry) for i, entry in enumerate(tables) if isinstance(entry, dict)]
        return {str(entry.get("label", entry.get("name"))): (at, entry) for at, entry in reversed(entries)}
    return {key: (f".{key}", table) for key, table in _table(tables).items() if isinstance(table, dict)}


def _table(value: Any) -> Table:
    return value if isinstance(value, dict) else {}


def _profile(profile: Table, keys: Collection[str], where: str) -> Table:
    """A profile with a row for each of a grid's, each with its whole recipe and protocol, and first stages for their names."""
    stages = {name: stage for name, stage in _table(profile.get("first_stages")).items() if isinstance(stage, dict)}
    whole = {**_with_first_stage(profile, stages, where)}
    for name, stage in stages.items():
        named = {**stage, **_stage(name, stages, f"{where}.first_stages.{name}")}
        whole["first_stages"] = {**whole["first_stages"], name: named}
    if isinstance(profile.get("rows"), list):
        whole["rows"] = []
        shared: Table = {key: profile[key] for key in ("recipe", "protocol") if key in profile}
        for i, row in enumerate(profile["rows"]):
            at = f"{where}.rows[{i}]"
            rows = rows_of_grid(row, keys, at) if "grid" in _table(row) else [row]
            whole["rows"] += [
                _with_first_stage(merged(shared, one), stages, at) if isinstance(one, dict) else one for one in rows
            ]
    return whole


def _with_first_stage(table: Table, stages: Table, where: str) -> Table:
    """A profile or a row, in whose recipe the first stage that it names is written out."""
    recipe = _table(table.get("recipe"))
    if "first_stage" not in recipe:
        return table
    stage = _stage(recipe["first_stage"], stages, f"{where}.recipe.first_stage")
    return {**table, "recipe": {**recipe, "first_stage": stage}}


def _stage(given: Any, stages: Table, where: str, behind: tuple[str, ...] = ()) -> Any:
    """A first stage given by name, or as changes to a named one, whole; `behind`: those whose decoder trains it on."""
    table = {"name": given} if isinstance(given, str) else given
    if not isinstance(table, dict) or not isinstance(name := table.get("name"), str):
        return given
    if name in behind or (name not in stages and isinstance(given, str)):
        problem = "a circle" if name in behind else unknown("first stage", name, sorted(stages))
        raise InputError(f"{where}: {problem}")
    whole = {key: value for key, value in merged(stages.get(name, {}), table).items() if key not in OF_TABLE}
    if "decoder_of" in whole:
        whole["decoder_of"] = _stage(whole["decoder_of"], stages, f"{where}.decoder_of", (*behind, name))
    return whole
