"""A row's figures and draws of them within their error, which no formula has to linearise."""

import numpy as np

from replication.harness.journal import Record
from replication.metrics.metric import metric_named
from replication.metrics.uncertainty import Z95
from replication.registry import METRICS
from replication.report.claims.verdict import NotTested

DRAWS = 20_000

# Seconds carry the range over chunks, in these columns.
RANGES = {
    "timing.seconds_per_image": ("timing.seconds_low", "timing.seconds_high"),
    "timing.image_seconds": ("timing.image_seconds_low", "timing.image_seconds_high"),
}


def by_factor(column: str) -> bool:
    """Whether it is positive and varies by a factor, which the log scale respects; others, such as KID, may be negative."""
    name = column.removeprefix("metric.")
    return column in RANGES or (name != column and name in METRICS.names() and metric_named(name).by_factor)


def figure(record: Record, column: str) -> float:
    """The row's number in that column; raises NotTested where it has none."""
    value = record.get(column)
    if not isinstance(value, int | float):
        raise NotTested(f"{_cell(record)} has no figure {column}")
    return float(value)


def redrawn(record: Record, column: str, generator: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """Draws of the figure within its standard error, float64 [draws]."""
    value, error = figure(record, column), standard_error(record, column)
    noise = generator.standard_normal(draws)
    return value * np.exp(error / value * noise) if by_factor(column) else value + error * noise


def standard_error(record: Record, column: str) -> float:
    """Of a row's figure. Counts such as NFE have none, and seconds have half of the range over chunks.

    Raises NotTested for a measured figure without an error in its row: it would pass for exact.
    """
    if column in RANGES:
        low, high = (figure(record, bound) for bound in RANGES[column])
        return (high - low) / (2 * Z95)
    if column.startswith(("metric.", "timing.")):
        if f"{column}_se" not in record:
            raise NotTested(f"{_cell(record)} has no interval for {column}")
        return figure(record, f"{column}_se")
    return 0.0


def bounded(record: Record, column: str) -> bool:
    """Whether the error is known at all: fewer than five chunks don't bound a median."""
    return column not in RANGES or figure(record, "timing.chunks") >= 5


def _cell(record: Record) -> str:
    return f"{record.get('label')} x {record.get('sampling.steps')}"


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
