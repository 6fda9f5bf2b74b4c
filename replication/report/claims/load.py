"""The claims of an experiment, typed and checked: what is wrong in one is found before anything is run or judged."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, cast

from pydantic import ValidationError

from replication.harness.experiment import Experiment, explained, sibling
from replication.registry import CLAIMS, QUANTITIES, unknown
from replication.report.claims.claim import Claim, Exact, Point
from replication.types import InputError

Tables = Callable[[str | None], Experiment]  # by name; the claims' own experiment where there is none


def claims_of(experiment: Experiment) -> list[Claim]:
    """Its claims, with every pattern written out, every part that they name built and every cell found in its table.

    Raises InputError naming the file, the claim, the key and the nearest valid name.
    """
    tables = cache(lambda name: sibling(experiment, name) if name else experiment)
    return [_checked(content, experiment, f"claim.{i}", tables) for i, content in enumerate(experiment.claims)]


def _checked(content: Mapping[str, Any], experiment: Experiment, where: str, tables: Tables) -> Claim:
    try:
        if "kind" not in content:
            raise InputError("kind: this key is missing")
        kind = cast("type[Claim]", CLAIMS.get(str(content["kind"])))
        labels = partial(_labels, tables, content.get("awaits"))
        found = kind.model_validate(content, context=labels)
        _check(found, experiment, tables)
    except ValidationError as error:
        raise InputError(f"{experiment.path}: {explained(error, kind, where)}") from error
    except InputError as error:
        raise InputError(f"{experiment.path}: claim {content.get('name', where)}: {error}") from error
    return found


def _labels(tables: Tables, awaited: str | None, point: Point) -> list[list[str]]:
    """Of the rows that have the point's steps, in each profile of its experiment."""
    if awaited is not None and point.experiment == awaited:
        return []
    profiles = tables(point.experiment).profiles.values()
    return [[row.label for row in profile.rows if point.steps in row.steps] for profile in profiles]


def _check(claim: Claim, experiment: Experiment, tables: Tables) -> None:
    _check_awaited(claim, experiment)
    for named in claim.named():
        if isinstance(named, Exact):
            named.build(QUANTITIES)
        elif named.experiment is None or named.experiment != claim.awaits:
            _check_point(named, tables(named.experiment))
    claim.check()


def _check_awaited(claim: Claim, experiment: Experiment) -> None:
    """An experiment that is waited for isn't there yet, and the claim is about it."""
    if claim.awaits is None:
        return
    if experiment.path.with_name(f"{claim.awaits}.toml").is_file():
        raise InputError(f"awaits {claim.awaits!r}, which is there now: take the key out and name its cells")
    named = sorted({point.experiment or experiment.name for point in claim.named() if isinstance(point, Point)})
    if claim.awaits not in named:
        raise unknown("experiment in awaits", claim.awaits, named)


def _check_point(point: Point, table: Experiment) -> None:
    """The cell is in a profile of its experiment; in one that lacks it, the claim is not tested."""
    if not table.profiles:
        raise InputError(f"{point.cell}: {table.path.name} has no rows; say experiment = ... in the point")
    rows = [row for profile in table.profiles.values() for row in profile.rows]
    valid = sorted({Point(label=row.label, steps=steps).cell for row in rows for steps in row.steps})
    if point.cell not in valid:
        raise unknown("cell", point.cell, valid)
