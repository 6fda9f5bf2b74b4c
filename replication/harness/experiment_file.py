"""The language of an experiment's TOML, written out here as the plain tables that `Experiment` types and checks.

A part is given by its name, "uniform", or with options, { name = "ddim", eta = 0.5 }. A protocol is a part of
experiments/protocols/, a first stage one of the profile's own `first_stages`. Three ideas keep a file short:

    base = "NAME"   in any table: it starts from that table and changes single keys of it. NAME is, whichever is found first,
                    1. a table beside it: of that key in the same table, of that label or name in the same list;
                    2. this file's [bases.NAME];
                    3. "FILE.NAME", profile NAME or [bases.NAME] of the experiment FILE beside this one; "FILE" alone has
                       the key of the table itself: under [profiles.cpu], base = "ddpm" is profile cpu of ddpm.toml.

    merging         A change is written over what it changes key by key, a part's options too; a list, a value, or a part of
                    another name replaces the whole: network = { block = "adaln" } changes one option of the network. So a
                    table with a base changes that base, a row the profile's recipe and protocol, and `--set` the profile.

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

import itertools
import math
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from replication.harness.home import experiments_beside
from replication.registry import one_of, unknown
from replication.settings import merged, printed
from replication.types import InputError

Table = dict[str, Any]
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
MOST_ROWS = 100_000  # of one grid
OF_TABLE = ("dataset", "published")  # what a first stage states about its row in the table, not about itself

DEEPEST = 50  # tables within tables


def read_toml(path: Path) -> Table:
    """The file's content; raises InputError where it is no TOML, can't be read, or has what no key can hold."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: this is not UTF-8, as a TOML is: save it in that encoding ({error})") from error
    except (ValueError, RecursionError) as error:  # of a number with thousands of digits there is no TOMLDecodeError
        raise InputError(f"{path}: this is not valid TOML: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    _check_values(content, str(path))
    return content


def toml_value(key: str, text: str) -> Any:
    """The value of `--set key=text`: read as TOML, and as a bare string where that fails."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    _check_values({key: value}, "--set")
    return value


def _check_values(value: Any, file: str, where: str = "") -> None:
    """Raises InputError for whole numbers of more than TOML's 64 bits, control characters but tabs and line ends, and tables
    within tables without end, which what reads them later could not follow.
    """
    if where.count(".") >= DEEPEST:
        raise InputError(f"{file}: {where[:60]}...: tables within tables, more than {DEEPEST} deep")
    if isinstance(value, dict | list):
        for key, below in value.items() if isinstance(value, dict) else enumerate(value):
            _check_values(key, file, where)
            _check_values(below, file, f"{where}.{key}" if where else str(key))
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InputError(f"{file}: {where} = {value}: a whole number of TOML is from -2^63 to 2^63 - 1")
    elif isinstance(value, str) and _CONTROL.search(value):
        raise InputError(f"{file}: {where or 'top level'}: {value!r} holds a control character")


def written_out(path: Path, settings: Mapping[str, str], profile: str, keys: Collection[str]) -> Table:
    """The content of an experiment's file, with `--set` changes to one profile, as if the language had no shorthands.

    keys: those of a row, which no axis of a grid may be named like. A value of a wrong type is left for the typed Experiment
    to refuse. Raises InputError naming the file and the key.
    """
    file = _File(path)
    if not isinstance(bases := file.raw.get("bases", {}), dict):
        raise InputError(f"{path}: bases = {bases!r}: a table of tables that others start from")
    content = {key: file.whole(value, key, file.raw) for key, value in file.raw.items() if key != "bases"}
    profiles = _tables(content.get("profiles"))
    if settings and profile not in profiles:
        raise unknown(f"profile of {path.name}", profile, list(profiles))
    for key, value in settings.items():
        profiles[profile] = merged(profiles[profile], _nested(key, toml_value(key, value)))
    for name, table in profiles.items():
        content["profiles"][name] = _profile(table, keys, f"{path}: profiles.{name}")
    return content


class _Found(NamedTuple):
    """A table that another starts from: its file, the table, its key, and the table or list that it is in."""

    file: "_File"
    table: Table
    where: str
    around: Any


class _File:
    """A TOML file, whose tables may start from each other and from those of the files beside it."""

    def __init__(self, path: Path):
        self.path, self.raw = path, read_toml(path)

    def whole(self, value: Any, where: str, around: Any, trail: tuple[str, ...] = ()) -> Any:
        """The value, with bases written into it and into all tables in it; `around` is the table or list that it is in.

        trail: the tables that start from this one.
        """
        if isinstance(value, list):
            return [self.whole(entry, f"{where}[{i}]", value, trail) for i, entry in enumerate(value)]
        if not isinstance(value, dict):
            return value
        own = {key: self.whole(below, f"{where}.{key}", value, trail) for key, below in value.items() if key != "base"}
        if "base" not in value:
            return own
        here = f"{self.path}: {where}"
        try:
            if here in trail:
                raise InputError("tables start from each other, in a circle")
            base = self._base(str(value["base"]), where, around, value)
        except InputError as error:
            raise InputError(f"{here}.base: {error}") from error
        return merged(base.file.whole(base.table, base.where, base.around, (*trail, here)), own)

    def _base(self, name: str, where: str, around: Any, value: Table) -> _Found:
        """The table of a name that the table `value` starts from; raises InputError with the nearest."""
        above, _, key = where.rpartition(".") if isinstance(around, dict) else (where.rpartition("[")[0], "", "")
        found = self._named({above: around, "bases": self.raw.get("bases")}, apart_from=value)
        if name in found:
            return found[name]
        file, _, rest = name.partition(".")
        others = experiments_beside(self.path)
        if file not in others or not (rest or key):
            raise unknown("table", name, [*found, *sorted(others)])
        other = _File(others[file])
        found = other._named({kind: other.raw.get(kind) for kind in ("profiles", "bases")})
        return found[one_of(f"table of {other.path.name}", rest or key, found)]

    def _named(self, places: Mapping[str, Any], apart_from: Table | None = None) -> dict[str, _Found]:
        """The tables in a table by key, and in a list by label or name; the first of equal names."""
        found: dict[str, _Found] = {}
        for place, around in places.items():
            tables = [(key, f"{place}.{key}", table) for key, table in _tables(around).items()]
            for i, entry in enumerate(around if isinstance(around, list) else []):
                if isinstance(entry, dict):
                    tables.append((str(entry.get("label", entry.get("name"))), f"{place}[{i}]", entry))
            for name, where, table in tables:
                if table is not apart_from:
                    found.setdefault(name, _Found(self, table, where, around))
        return found


def _tables(value: Any) -> dict[str, Table]:
    """The tables in a table."""
    return {key: table for key, table in value.items() if isinstance(table, dict)} if isinstance(value, dict) else {}


def _nested(path: str, value: Any) -> Table:
    """The value in tables, "a.b" for {a: {b: value}}."""
    return reduce(lambda inner, key: {key: inner}, reversed(path.split(".")), value)


def _profile(profile: Table, keys: Collection[str], where: str) -> Table:
    """A profile with a row for each of a grid's, each with its whole recipe and protocol, and first stages for their names."""
    stages = _tables(profile.get("first_stages"))
    whole = _with_first_stage(profile, stages, where)
    for name, stage in stages.items():
        named = {**stage, **_stage(name, stages, f"{where}.first_stages.{name}")}
        whole["first_stages"] = {**whole["first_stages"], name: named}
    if isinstance(profile.get("rows"), list):
        shared: Table = {key: profile[key] for key in ("recipe", "protocol") if key in profile}
        whole["rows"] = [
            _with_first_stage(merged(shared, one), stages, f"{where}.rows[{i}]") if isinstance(one, dict) else one
            for i, row in enumerate(profile["rows"])
            for one in _rows_of(row, keys, f"{where}.rows[{i}]")
        ]
    return whole


def _with_first_stage(table: Table, stages: dict[str, Table], where: str) -> Table:
    """A profile or a row, in whose recipe the first stage that it names is written out."""
    recipe = table.get("recipe")
    if not isinstance(recipe, dict) or "first_stage" not in recipe:
        return dict(table)
    stage = _stage(recipe["first_stage"], stages, f"{where}.recipe.first_stage")
    return {**table, "recipe": {**recipe, "first_stage": stage}}


def _stage(given: Any, stages: dict[str, Table], where: str, behind: tuple[str, ...] = ()) -> Any:
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


def _rows_of(row: Any, keys: Collection[str], where: str) -> Iterator[Any]:
    """The row of every combination of its grid's axes but the excluded ones, or the row alone; InputError for no grid."""
    if not isinstance(row, dict) or "grid" not in row:
        yield row
        return
    rest = {key: value for key, value in row.items() if key not in ("grid", "exclude")}
    axes = dict(_axes(row["grid"], keys, f"{where}.grid")) if isinstance(row["grid"], dict) else {}
    exclude = row.get("exclude", [])
    if not axes or not isinstance(exclude, list) or not all(isinstance(partial, dict) for partial in exclude):
        raise InputError(f"{where}: grid is a table of axes, and exclude a list of combinations")
    if (rows := math.prod(map(len, axes.values()))) > MOST_ROWS:
        raise InputError(f"{where}.grid: {rows:,} combinations, and {MOST_ROWS:,} are the most")
    excluded = [dict(_choices(partial, axes, f"{where}.exclude[{i}]")) for i, partial in enumerate(exclude)]
    used = set()
    for combination in itertools.product(*(axis.items() for axis in axes.values())):
        names = dict(zip(axes, (name for name, _ in combination), strict=True))
        matching = [i for i, partial in enumerate(excluded) if partial.items() <= names.items()]
        used.update(matching)
        if not matching:
            one = reduce(merged, (changes for _, changes in combination), rest)
            if isinstance(label := one.get("label"), str):
                one["label"] = reduce(lambda text, axis: text.replace(f"{{{axis}}}", names[axis]), axes, label)
            yield one
    for i, partial in enumerate(exclude):
        if i not in used:
            raise InputError(f"{where}.exclude[{i}]: {partial} excludes nothing")


def _axes(grid: Table, keys: Collection[str], where: str, above: str = "") -> Iterator[tuple[str, dict[str, Table]]]:
    """Each axis, "recipe.training.seed" or a name of its own, with the changes to the row by the name of each value."""
    for key, value in grid.items():
        axis = f"{above}{key}"
        if isinstance(value, list) and value:
            changes = {_shown(of): _nested(axis, of) for of in value}
            if len(changes) < len(value):
                raise InputError(f"{where}.{axis}: two of its values are one, {value}")
            yield axis, changes
        elif isinstance(value, dict) and (above or key in keys):
            yield from _axes(value, keys, where, f"{axis}.")
        elif isinstance(value, dict) and value and all(isinstance(change, dict) for change in value.values()):
            yield axis, value
        else:
            raise InputError(
                f"{where}.{axis}: an axis is a key of the row with a list of values, or a name of its own with named changes"
            )


def _choices(partial: Table, axes: Collection[str], where: str, above: str = "") -> Iterator[tuple[str, str]]:
    """(axis, name of the value) of each entry of a combination."""
    for key, value in partial.items():
        axis = f"{above}{key}"
        if axis in axes:
            yield axis, _shown(value)
        elif isinstance(value, dict):
            yield from _choices(value, axes, where, f"{axis}.")
        else:
            raise InputError(f"{where}: {unknown('axis', axis, list(axes))}")


def _shown(value: Any) -> str:
    """A value of an axis in a label: as the file has it, a part by its name."""
    return str(value["name"]) if isinstance(value, dict) and "name" in value else printed(value)
