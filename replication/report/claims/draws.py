"""Figures of rows, drawn again within their errors: together where rows have common replicates, else each by itself.

Two rows that were resampled alike (the same images of the reference, and images from the same x_T) err alike, and most of
their error cancels in a ratio or a difference. The replicates of such rows are joint: r-th beside r-th. Each
figure is drawn as its point plus the deviations of its replicates from their mean, so that whatever is computed from
several of them sees the correlation, and no formula has to linearise.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch

from replication.harness.journal import Record
from replication.metrics import uncertainty
from replication.metrics.metric import metric_named
from replication.registry import METRICS
from replication.report.claims.claim import Point
from replication.report.claims.verdict import NotTested
from replication.report.compare import Resampled

DRAWS = 20_000
NAMED = 4  # rows in a table's cell; more are counted

# Seconds carry the range over chunks, in these columns.
RANGES = {
    "timing.seconds_per_image": ("timing.seconds_low", "timing.seconds_high"),
    "timing.image_seconds": ("timing.image_seconds_low", "timing.image_seconds_high"),
}

Rows = Mapping[Point, Resampled]
Figure = tuple[Point, str]  # a row's, by its point and column
Figures = Mapping[Figure, np.ndarray]  # float64 [draws] of each


class Drawn(NamedTuple):
    """Draws of figures, and how those of several rows are correlated, in words for the table."""

    figures: Figures
    pairing: str = ""


Redraw = Callable[[Sequence[Figure], Rows, np.random.Generator], Drawn]


def by_factor(column: str) -> bool:
    """Whether it is positive and varies by a factor, which the log scale respects; others, such as KID, may be negative."""
    name = column.removeprefix("metric.")
    return column in RANGES or (name != column and name in METRICS.names() and metric_named(name).by_factor)


def figure(record: Record, column: str) -> float:
    """The row's number in that column; raises NotTested where it has none."""
    value = record.get(column)
    if not isinstance(value, int | float):
        raise NotTested(f"{_cell(record)} has no figure {column}")
    if not math.isfinite(value):
        raise NotTested(f"{column} of {_cell(record)} is not finite")
    return float(value)


def standard_error(record: Record, column: str) -> float:
    """Of a row's figure. Counts such as NFE have none, and seconds have half of the range over chunks.

    Raises NotTested for a measured figure without an error in its row: it would pass for exact.
    """
    if column in RANGES:
        low, high = (figure(record, bound) for bound in RANGES[column])
        return (high - low) / (2 * uncertainty.Z95)
    if column.startswith(("metric.", "timing.")):
        if f"{column}_se" not in record:
            raise NotTested(f"{_cell(record)} has no interval for {column}")
        return figure(record, f"{column}_se")
    return 0.0


def bounded(record: Record, column: str) -> bool:
    """Whether the error is known at all: fewer than five chunks don't bound a median."""
    return column not in RANGES or figure(record, "timing.chunks") >= 5


def redrawn(record: Record, column: str, generator: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """Draws of the figure by itself, within its standard error, float64 [draws]."""
    value, error = figure(record, column), standard_error(record, column)
    noise = generator.standard_normal(draws)
    return value * np.exp(error / value * noise) if by_factor(column) else value + error * noise


def together(figures: Sequence[Figure], rows: Rows, generator: np.random.Generator, draws: int = DRAWS) -> Drawn:
    """Each figure within its error, those whose rows have common replicates jointly.

    If that is all that is uncertain, the draws are the replicates themselves, [R]; beside other figures they are taken
    at random. Raises NotTested for replicates of one stream that are not as many in every row.
    """
    figures = list(dict.fromkeys(figures))
    streams = _streams(figures, rows)
    joint = {f: stream for stream, group in streams.items() for f in group}
    alone = [f for f in figures if f not in joint and standard_error(rows[f[0]].record, f[1]) > 0]
    sizes = {stream: _size(stream, group, rows) for stream, group in streams.items()}
    count = next(iter(sizes.values())) if len(streams) == 1 and not alone else draws
    taken = {
        stream: np.arange(size) if size == count and not alone else generator.integers(size, size=count)
        for stream, size in sizes.items()
    }
    drawn = {
        (point, column): _joint(rows[point], column)[taken[joint[point, column]]]
        if (point, column) in joint
        else redrawn(rows[point].record, column, generator, count)
        for point, column in figures
    }
    return Drawn(drawn, _pairing(streams, [point for point, column in alone if column.startswith("metric.")], rows))


def _streams(figures: Sequence[Figure], rows: Rows) -> dict[str, list[Figure]]:
    """The figures of each stream of resamples that rows have in common: of two rows at least."""
    found: dict[str, list[Figure]] = defaultdict(list)
    for point, column in figures:
        if (kept := rows[point].joint(column)) is not None:
            found[kept[0]].append((point, column))
    return {stream: group for stream, group in found.items() if len({point for point, _ in group}) > 1}


def _joint(row: Resampled, column: str) -> np.ndarray:
    """Draws of a figure by its replicates, float64 [R]."""
    kept = row.joint(column)
    assert kept is not None
    return uncertainty.drawn_about(figure(row.record, column), kept[1]).numpy()


def _size(stream: str, group: Sequence[Figure], rows: Rows) -> int:
    """R of the stream's replicates."""
    sizes = {_cell(rows[point].record): len(_joint(rows[point], column)) for point, column in group}
    if len(set(sizes.values())) > 1:
        of = ", ".join(f"{size} of {cell}" for cell, size in sizes.items())
        raise NotTested(f"the replicates of one stream are not as many in every row: {of}")
    return next(iter(sizes.values()))


def _pairing(streams: Mapping[str, Sequence[Figure]], alone: Sequence[Point], rows: Rows) -> str:
    """The correlations of what was drawn jointly, and why the rest was not; empty where there is one row alone."""
    pairs: list[float] = []
    for group in streams.values():
        table = np.corrcoef([_joint(rows[point], column) for point, column in group])
        pairs += [table[i, j] for i, j in combinations(range(len(group)), 2) if group[i][0] != group[j][0]]
    found = []
    if pairs:
        low, high = f"{min(pairs):.3g}", f"{max(pairs):.3g}"
        found.append(f"r = {low}" if low == high else f"r = {low} to {high}")
    if alone and (pairs or len(set(alone)) > 1):
        without = [_cell(rows[point].record) for point in dict.fromkeys(alone) if rows[point].replicates is None]
        named = ", ".join(without) if len(without) <= NAMED else f"{len(without)} rows"
        why = f"no replicates of {named}" if without else "the rows were resampled by other draws"
        found.append(f"not paired: {why}")
    return "; ".join(found)


def percentiles(value: float, draws: np.ndarray) -> tuple[float, float]:
    """Those between which 95 % of the draws lie, wherever the value is."""
    return uncertainty.percentiles(torch.from_numpy(np.ascontiguousarray(draws, dtype=np.float64)))


def _cell(record: Record) -> str:
    return f"{record.get('label')} x {record.get('sampling.steps')}"
