"""Experiment files as people's slips and other programs leave them: one value, key or table changed, somewhere."""

import copy
import datetime
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from replication.harness.experiment import load_experiment
from replication.harness.job import jobs_of
from replication.report.claims import claims_of
from replication.types import InputError

Choose = Callable[[Sequence[Any]], Any]  # one of several: hypothesis's or random's

ODD: tuple[Any, ...] = (
    0, 1, -1, 3, 2**31, 2**63 - 1, -(2**63), 2**64, 10**30, 0.0, -0.0, 0.5, 1e-300, 1e300, math.inf, -math.inf, math.nan,
    True, False, "", " ", "x", "0", "none", "cpu", "ddpm", "ddim", "digits", "a.b", "a:b", ":", "../x", "~", "a\nb", "a\tb", "\x00",
    "\ufeff", "\u202eabc", "é", "e\u0301", "漢字", "😀", "a|b", "$x$", "x" * 5000, [], [[]], [1], ["x"], [{}], [1, "x", {}], {},
    {"name": 3}, {"name": "x"}, {"name": "ddim", "eta": math.nan}, {"x": {"y": {}}}, {"base": "x"}, {"base": 3},
    datetime.date(1979, 5, 27), datetime.time(7, 32), datetime.datetime(1979, 5, 27, 7, 32),
)  # fmt: skip
NAMES = (
    "",
    "x",
    "name",
    "base",
    "grid",
    "exclude",
    "rows",
    "recipe",
    "protocol",
    "training",
    "changed",
    "path",
    "a b",
    "é",
    "\u202e",
)


def text_of(value: Any) -> str:
    """The value in TOML, tables in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)} = {text_of(below)}" for key, below in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(text_of, value))}]"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else repr(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def mutated(content: dict[str, Any], choose: Choose) -> dict[str, Any]:
    """A copy of a file's content in which one place is another."""
    content = copy.deepcopy(content)
    around, key = choose(list(_places(content)))
    value, kind = around[key], choose(KINDS)
    if kind == "odd":
        around[key] = choose(ODD)
    elif kind == "gone":
        del around[key]
    elif kind == "listed":
        around[key] = [value]
    elif kind == "nested":
        around[key] = {choose(NAMES): value}
    elif kind == "twice":
        around[key] = [value, copy.deepcopy(value)]
    elif kind == "as text":
        around[key] = str(value)
    elif kind == "swapped":
        other, there = choose(list(_places(content)))
        around[key], other[there] = copy.deepcopy(other[there]), copy.deepcopy(value)
    elif isinstance(around, dict):  # a key more, or another one
        around[choose(NAMES)] = around.pop(key) if kind == "renamed" else choose(ODD)
    else:
        around.append(choose(ODD))
    return content


KINDS = ("odd", "odd", "odd", "gone", "listed", "nested", "twice", "as text", "swapped", "renamed", "added")


def _places(around: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of a content, by what it is in and its key there."""
    for key, value in list(around.items() if isinstance(around, dict) else enumerate(around)):
        yield around, key
        if isinstance(value, dict | list):
            yield from _places(value)


def complaint(path: Path, profile: str) -> str:
    """What planning that file says: nothing, or the one message; whatever else happens is raised."""
    try:
        experiment = load_experiment(str(path))
        claims_of(experiment)
        jobs_of(experiment, profile)
    except InputError as error:
        return str(error)
    return ""
