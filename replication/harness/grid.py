"""The grid of a row: a cross product of axes, with exclusions. experiment_file.py says how it is written."""

import itertools
from collections.abc import Collection, Iterator, Mapping
from functools import reduce
from typing import Any

from replication.registry import unknown
from replication.settings import merged
from replication.types import InputError

Table = dict[str, Any]


def nested(path: str, value: Any) -> Table:
    """The value in tables, "a.b" for {a: {b: value}}."""
    return reduce(lambda inner, key: {key: inner}, reversed(path.split(".")), value)


def rows_of_grid(row: Table, keys: Collection[str], where: str) -> Iterator[Table]:
    """The row of every combination of the grid's axes but the excluded ones; raises InputError for what is no grid."""
    rest = {key: value for key, value in row.items() if key not in ("grid", "exclude")}
    axes = dict(_axes(row["grid"], keys, f"{where}.grid")) if isinstance(row["grid"], dict) else {}
    exclude = row.get("exclude", [])
    if not axes or not isinstance(exclude, list) or not all(isinstance(partial, dict) for partial in exclude):
        raise InputError(f"{where}: grid is a table of axes, and exclude a list of combinations")
    excluded = [dict(_choices(partial, axes, f"{where}.exclude[{i}]")) for i, partial in enumerate(exclude)]
    used = set()
    for combination in itertools.product(*(axis.items() for axis in axes.values())):
        names = dict(zip(axes, (name for name, _ in combination), strict=True))
        matching = [i for i, partial in enumerate(excluded) if partial.items() <= names.items()]
        used.update(matching)
        if not matching:
            one = reduce(merged, (changes for _, changes in combination), rest)
            yield {**one, "label": _filled(one["label"], names)} if "label" in one else one
    for i, partial in enumerate(exclude):
        if i not in used:
            raise InputError(f"{where}.exclude[{i}]: {partial} excludes nothing")


def _axes(grid: Table, keys: Collection[str], where: str, above: str = "") -> Iterator[tuple[str, dict[str, Table]]]:
    """Each axis, "recipe.training.seed" or a name of its own, with the changes to the row by the name of each value."""
    for key, value in grid.items():
        axis = f"{above}{key}"
        if isinstance(value, list) and value:
            changes = {_shown(of): nested(axis, of) for of in value}
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


def _filled(label: Any, names: Mapping[str, str]) -> Any:
    for axis, name in names.items():
        label = label.replace(f"{{{axis}}}", name) if isinstance(label, str) else label
    return label


def _shown(value: Any) -> str:
    """A value of an axis in a label: as the file has it, a part by its name."""
    if isinstance(value, dict) and "name" in value:
        return str(value["name"])
    return str(value).lower() if isinstance(value, bool) else str(value)
