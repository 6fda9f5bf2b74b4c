"""A column over points, drawn again: from the scatter of repeats where there are any, else within the rows' own errors.

Points that share a place, such as the seeds of a training at one size, are repeats. Their scatter is what is uncertain
then: it has each row's own sampling error in it already, which is not added again. Without repeats there is the rows' own
error alone, and nothing of the training's. The interval is about these very places; no others are drawn.
"""

from collections.abc import Sequence

import numpy as np

from replication.report.claims.claim import Point
from replication.report.claims.draws import (
    DRAWS,
    Drawn,
    Figure,
    Redraw,
    Rows,
    figure,
    percentiles,
    redrawn,
    together,
)
from replication.report.claims.verdict import NotTested


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
