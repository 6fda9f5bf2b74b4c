"""The TOML of an experiment, with every shorthand that it may use written out as plain tables.

    rows, at the top                  rows of every profile, before its own
    like = "other"                    the profile takes recipe, protocol and batch size from that file's profile
    protocol = "NAME"                 the named protocol, whole
    [profiles.P.every_row]            what each row says that does not say it otherwise
    [profiles.P.recipes.NAME]         changes to the recipe, which rows take by name: recipe = "NAME"
    training_seeds = [0, 1]           in a row: one row for each, "..., seed 0" and so on, with a checkpoint of its own
    [profiles.P.first_stages.NAME]    a first stage, which recipes take by name: first_stage = "NAME"
    decoder_of = "NAME"               in a first stage: it trains the decoder of that one on, whose encoder it has

What is of a wrong type is left as it is, for the typed Experiment to complain of.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from replication.harness.protocol import protocol_table
from replication.registry import unknown
from replication.types import InputError

Table = dict[str, Any]
OF_ROW = ("dataset", "published")  # what a first stage's table says besides the first stage


def read_toml(path: Path) -> Table:
    """The file's content; raises InputError where it is no TOML or can't be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: this is not valid TOML: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def written_out(path: Path, settings: Mapping[str, str], profile: str) -> Table:
    """The content of an experiment's file, with `--set` changes to one profile applied before shorthands are.

    Raises InputError naming the file and the key for a name that is not there.
    """
    content = read_toml(path)
    profiles = content.get("profiles")
    tables = {n: t for n, t in profiles.items() if isinstance(t, dict)} if isinstance(profiles, dict) else {}
    shared = content.pop("rows", []) if profiles else []
    for name, table in tables.items():
        if isinstance(shared, list) and shared:
            table["rows"] = [*shared, *table.get("rows", [])]
        if "like" in table:
            _inherit(table, name, path)
        _name_in_table(table)
    if settings and profile not in tables:
        raise InputError(f"{path}: there is no profile {profile!r} to change with --set")
    for key, value in settings.items():
        _set(content, ["profiles", profile, *key.split(".")], value)
    for name, table in tables.items():
        where = f"{path}: profiles.{name}"
        _write_out_rows(table, where)
        if "protocol" in table:
            try:
                table["protocol"] = protocol_table(table["protocol"])
            except InputError as error:
                raise InputError(f"{where}.protocol.name: {error}") from error
    return content


def beside(path: Path, name: str) -> Path:
    """The experiment file of that name in the same folder; raises InputError with the nearest name."""
    other = path.with_name(f"{name}.toml")
    if not other.is_file():
        raise unknown("experiment", name, sorted(file.stem for file in path.parent.glob("*.toml")))
    return other


def _inherit(table: Table, name: str, path: Path) -> None:
    try:
        other = beside(path, table.pop("like"))
    except InputError as error:
        raise InputError(f"{path}: profiles.{name}.like: {error}") from error
    base = read_toml(other).get("profiles", {}).get(name)
    if base is None:
        raise InputError(f"{path}: profiles.{name}.like: {other.name} has no profile {name!r}")
    _name_in_table(base)
    table |= merged({key: base[key] for key in ("recipe", "protocol", "batch_size") if key in base}, table)


def _name_in_table(profile: Table) -> None:
    """A protocol given by its name alone, as a table, so that --set and `like` can change keys of it."""
    if isinstance(profile.get("protocol"), str):
        profile["protocol"] = {"name": profile["protocol"]}


def _write_out_rows(profile: Table, where: str) -> None:
    """Every row and first stage of a profile as if the file had no names for parts of them."""
    every, recipes, stages = (profile.get(key, {}) for key in ("every_row", "recipes", "first_stages"))
    if not all(isinstance(table, dict) for table in (every, recipes, stages, *recipes.values(), *stages.values())):
        return
    named = {name: {**_without(table, OF_ROW), "name": name} for name, table in stages.items()}
    whole = {name: _with_base(name, named, f"{where}.first_stages") for name in named}
    if stages:
        rest = {name: {key: table[key] for key in OF_ROW if key in table} for name, table in stages.items()}
        profile["first_stages"] = {name: {"first_stage": whole[name], **rest[name]} for name in stages}
    profile.pop("every_row", None)
    profile.pop("recipes", None)
    if "recipe" in profile:
        profile["recipe"] = _with_first_stage(profile["recipe"], whole, f"{where}.recipe")
    rows = profile.get("rows")
    if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        profile["rows"] = [
            one
            for i, row in enumerate(rows)
            for one in _of_each_seed(_whole_row({**every, **row}, recipes, whole, f"{where}.rows[{i}].recipe"))
        ]


def _whole_row(row: Table, recipes: Table, stages: Table, where: str) -> Table:
    recipe = row.get("recipe", {})
    if isinstance(recipe, str):
        if recipe not in recipes:
            raise InputError(f"{where}: {unknown('recipe', recipe, sorted(recipes))}")
        recipe = recipes[recipe]
    return {**row, "recipe": _with_first_stage(recipe, stages, where)} if recipe else row


def _of_each_seed(row: Table) -> list[Table]:
    """The row, or, where it names training seeds, one for each of them."""
    seeds = row.get("training_seeds")
    if not isinstance(seeds, list) or not isinstance(row.get("label"), str):
        return [row]
    base = _without(row, ("training_seeds",))
    recipe = row.get("recipe", {})
    return [
        {**base, "label": f"{row['label']}, seed {seed}", "recipe": merged(recipe, {"training": {"seed": seed}})}
        for seed in seeds
    ]


def _with_first_stage(recipe: Any, stages: Table, where: str) -> Any:
    named = recipe.get("first_stage") if isinstance(recipe, dict) else None
    if not isinstance(named, str):
        return recipe
    if named not in stages:
        raise InputError(f"{where}.first_stage: {unknown('first stage', named, sorted(stages))}")
    return {**recipe, "first_stage": stages[named]}


def _with_base(name: str, stages: Table, where: str, behind: tuple[str, ...] = ()) -> Table:
    """The first stage with the one whose decoder it trains on written out; `behind`: those that it is the base of."""
    stage, base = stages[name], stages[name].get("decoder_of")
    if not isinstance(base, str):
        return stage
    if base in (*behind, name) or base not in stages:
        problem = "a circle" if base in stages else unknown("first stage", base, sorted(stages))
        raise InputError(f"{where}.{name}.decoder_of: {problem}")
    return {**stage, "decoder_of": _with_base(base, stages, where, (*behind, name))}


def _without(table: Table, keys: tuple[str, ...]) -> Table:
    return {key: value for key, value in table.items() if key not in keys}


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Table:
    """`base` with the changes written over it, table by table; a part given by name replaces the whole part."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both and "name" not in value else value
    return result


def _set(content: Table, path: list[str], text: str) -> None:
    """Put a `--set` value at its key path."""
    table: Any = content
    for depth, key in enumerate(path[:-1]):
        if not isinstance(table, dict) or key not in table:
            valid = sorted(table) if isinstance(table, dict) else None
            near = "not a table" if valid is None else unknown("table", ".".join(path[2 : depth + 1]), valid)
            raise InputError(f"--set {'.'.join(path[2:])}={text}: {near}")
        table = table[key]
    if not isinstance(table, dict):
        raise InputError(f"--set {'.'.join(path[2:])}={text}: {path[-2]} is not a table")
    table[path[-1]] = toml_value(text)


def toml_value(text: str) -> Any:
    """The value of a `--set`: read as TOML, and as a bare string where that fails."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
