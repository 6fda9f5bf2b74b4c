"""The figure of a reading as the papers' own numbers give it, where they print all that it takes."""

from collections.abc import Callable, Sequence

import numpy as np

from replication.report.claims.claim import Point
from replication.report.claims.evidence import Evidence
from replication.report.claims.verdict import NotTested


def as_printed(of: Callable[..., np.ndarray], figures: Sequence[tuple[Point, str]], evidence: Evidence) -> float | None:
    """`of` applied to what is printed for each (point, column); None where one of them is not printed."""
    found = []
    for point, column in figures:
        values = _printed(point, column, evidence)
        if not values:
            return None
        found.append(np.asarray(values[0]))
    try:
        return float(of(*found))
    except NotTested:
        return None


def _printed(point: Point, column: str, evidence: Evidence) -> list[float]:
    """What the papers print in that column for a point, in any profile: a metric, or a cost beside one."""
    try:
        experiment = evidence.table(point).experiment
    except NotTested:
        return []
    group, _, name = column.partition(".")
    published = [
        value
        for profile in experiment.profiles.values()
        for row in profile.rows
        if row.label == point.label
        for value in experiment.published(row)
        if value.steps == point.steps
    ]
    if group == "cost":
        return [cost for value in published for known, cost in value.costs.items() if known == name]
    return [value.value for value in published if group == "metric" and value.metric == name]
