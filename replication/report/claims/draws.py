"""Figures of rows, drawn again within their errors: together where rows have common replicates, else each by itself.

Two rows that were resampled alike (the same images of the reference, and images from the same x_T) err alike, and most of
their error cancels in a ratio or a difference. The replicates of such rows are joint: r-th beside r-th. Each
figure is drawn as its point plus the deviations of its replicates from their mean, so that whatever is computed from
several of them sees the correlation, and no formula has to linearise.

A column over points is drawn from the scatter of repeats where there are any. Points that share a place, such as the seeds of
a training at one size, are repeats. Their scatter is what is uncertain then: it has each row's own sampling error in it
already, which is not added again. Without repeats there is the rows' own error alone, and nothing of the training's. The
interval is about these very places; no others are drawn.
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
from replication.metrics.frechet import ENOUGH
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


class Drawn(NamedTuple):
    """Draws of figures, float64 [draws] of each, and how those of several rows are correlated, in words for the table."""

    figures: Mapping[Figure, np.ndarray]
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
        n, takes = record.get("protocol.n", 0), ENOUGH * record.get("protocol.features", 0)
        few = (
            f": it takes {takes:,} images, and there are {n:,}" if column == "metric.fd_infinity" and n < takes else ""
        )
        raise NotTested(f"{_cell(record)} has no figure {column}{few}")
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
    joint = {f for of in streams.values() for f in of}
    alone = [f for f in figures if f not in joint and standard_error(rows[f[0]].record, f[1]) > 0]
    sizes = [len(next(iter(of.values()))) for of in streams.values()]
    count = sizes[0] if len(sizes) == 1 and not alone else draws
    drawn: dict[Figure, np.ndarray] = {}
    for size, of in zip(sizes, streams.values(), strict=True):
        taken = np.arange(size) if size == count and not alone else generator.integers(size, size=count)
        drawn |= {f: replicates[taken] for f, replicates in of.items()}
    drawn |= {f: redrawn(rows[f[0]].record, f[1], generator, count) for f in figures if f not in joint}
    return Drawn(drawn, _pairing(streams, [point for point, column in alone if column.startswith("metric.")], rows))


def _streams(figures: Sequence[Figure], rows: Rows) -> dict[str, dict[Figure, np.ndarray]]:
    """By each stream of resamples that two rows at least have in common, their figures by its replicates, float64 [R]."""
    found: dict[str, dict[Figure, np.ndarray]] = defaultdict(dict)
    for point, column in figures:
        if (kept := rows[point].joint(column)) is not None:
            value = figure(rows[point].record, column)
            found[kept[0]][point, column] = uncertainty.drawn_about(value, kept[1]).numpy()
    shared = {stream: of for stream, of in found.items() if len({point for point, _ in of}) > 1}
    for of in shared.values():
        sizes = {_cell(rows[point].record): len(replicates) for (point, _), replicates in of.items()}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{size} of {cell}" for cell, size in sizes.items())
            raise NotTested(f"the replicates of one stream are not as many in every row: {listed}")
    return shared


def _pairing(streams: Mapping[str, Mapping[Figure, np.ndarray]], alone: Sequence[Point], rows: Rows) -> str:
    """The correlations of what was drawn jointly, and why the rest was not; empty where there is one row alone."""
    pairs: list[float] = []
    for of in streams.values():
        points, table = [point for point, _ in of], np.corrcoef([*of.values()])
        pairs += [table[i, j] for i, j in combinations(range(len(of)), 2) if points[i] != points[j]]
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


def logarithms(figures: np.ndarray) -> np.ndarray:
    """Natural logarithms; raises NotTested where there are none."""
    if (figures <= 0).any():
        raise NotTested("a figure that is not positive has no logarithm")
    return np.log(figures)


def redrawn_over(
    families: Sequence[Sequence[Point]],
    along: str,
    column: str,
    figures: Sequence[Figure],
    rows: Rows,
    generator: np.random.Generator,
) -> Drawn:
    """The figures drawn again; those of the column over each family of points, whose places are in the column `along`.

    Where all figures of a family are positive they vary by a factor. Raises NotTested if one family alone has repeats.
    """
    repeated: dict[Figure, np.ndarray] = {}
    with_repeats = 0
    for points in families:
        places, values = (np.array([figure(rows[point].record, c) for point in points]) for c in (along, column))
        positive = bool((values > 0).all())
        fresh = fresh_repeats(np.log(values) if positive else values, places, generator, DRAWS)
        if fresh is not None:
            with_repeats += 1
            repeated |= zip([(point, column) for point in points], np.exp(fresh) if positive else fresh, strict=True)
    if 0 < with_repeats < len(families):
        raise NotTested("one side has repeats, such as seeds of a training, and the other has none")
    if repeated:
        return Drawn(repeated | {(p, c): redrawn(rows[p].record, c, generator) for p, c in figures if c != column})
    return kept_positive(together(figures, rows, generator), rows)


def kept_positive(drawn: Drawn, rows: Rows) -> Drawn:
    """The draws of positive figures by a factor: what they are off by is carried to the logarithm, to first order.

    A distance that its error brings near 0 would have draws without a logarithm otherwise.
    """
    values = {(point, column): figure(rows[point].record, column) for point, column in drawn.figures}
    return drawn._replace(
        figures={f: v * np.exp(drawn.figures[f] / v - 1) if v > 0 else drawn.figures[f] for f, v in values.items()}
    )


def drawn_once(redraw: Redraw) -> Redraw:
    """The same draws for all readings of the same figures, which are drawn for the first."""
    found: list[Drawn] = []

    def again(figures: Sequence[Figure], rows: Rows, generator: np.random.Generator) -> Drawn:
        if not found:
            found.append(redraw(figures, rows, generator))
        return found[0]

    return again


def fresh_repeats(
    values: np.ndarray, places: np.ndarray, generator: np.random.Generator, draws: int
) -> np.ndarray | None:
    """Draws of repeats, such as the seeds of a training, from their own scatter: float64 [P,draws] of values [P].

    None if no place has two. They are normal about the mean of their place. The variance is pooled over the places, its own
    error drawn with it (scaled inverse chi-squared), since two degrees of freedom at one place say little. Picking seeds
    with replacement instead would have less scatter than the seeds (2/3 of the variance for three of them), and equal
    copies, which ranks take for a closer order than any that was measured.
    """
    _, place, count = np.unique(places, return_inverse=True, return_counts=True)
    freedom = len(values) - len(count)
    if not freedom:
        return None
    mean = (np.bincount(place, values) / count)[place]
    variance = ((values - mean) ** 2).sum() / generator.chisquare(freedom, size=draws)
    return mean[:, None] + np.sqrt(variance) * generator.standard_normal((len(values), draws))


def around(value: float, draws: np.ndarray, within: tuple[float, float]) -> tuple[float, float]:
    """(low, high) with low <= value <= high, within those ends: the draws' percentiles, and the same less their bias.

    Errors weaken a correlation and widen a scatter, and draws have them twice, so that percentiles alone may miss the
    truth on the value's other side. The draws' median is as far from the value as that is from the truth, about: the
    percentiles, moved twice that far, surround the truth. Where this overdoes it, the percentiles themselves do.
    """
    low, high = percentiles(value, draws)
    unbiased = 2 * (value - float(np.median(draws)))
    return max(min(low, low + unbiased, value), within[0]), min(max(high, high + unbiased, value), within[1])


def _cell(record: Record) -> str:
    return f"{record.get('label')} x {record.get('sampling.steps')}"
