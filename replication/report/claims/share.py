"""How much of the variance of log distance over a table goes with the number of evaluations, or of steps.

    of evaluations    1 - (sum of squares about the best function that never rises with them) / (total sum of squares)
    of steps          1 - (sum of squares about the mean of each step count) / (total sum of squares), eta squared

Step counts are the same for every sampler. Evaluations are not, and a mean for each of so many counts would fit nearly
anything; what is claimed is a curve that falls. Either share depends on the range that is looked at, since a table that
begins at 5 has most of its variance there. So the ranges are stated, and each has an answer of its own.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from replication.registry import CLAIMS
from replication.report.claims.claim import Claim, Columns, Point
from replication.report.claims.draws import Drawn, Figure, Rows, around, drawn_once, kept_positive, logarithms, together
from replication.report.claims.evidence import TITLES, Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import LEADS, NotTested, Range, Verdict, capitalised, listed

DRAWS = 2_000
COUNTED = ("sampling.nfe", "sampling.steps")


@CLAIMS.register("share")
class Share(Claim):
    """At least `share` of the variance of log distance goes with evaluations, and with steps, over each of `ranges`.

    The cells are those of the rows with several step counts; their evaluations, or their steps, are within the range.
    """

    share: Annotated[float, Field(gt=0, lt=1)]
    ranges: Annotated[list[Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]], Field(min_length=1)]
    columns: Columns

    @model_validator(mode="after")
    def _ends_in_order(self) -> "Share":
        if wrong := [ends for ends in self.ranges if ends[0] >= ends[1]]:
            raise ValueError(f"ranges: {wrong[0]} does not rise")
        return self

    def readings(self, evidence: Evidence) -> Iterator[Reading]:
        """One for each column, way of counting and range; all of the cells must be run."""
        steps: dict[str, set[int]] = defaultdict(set)
        for cell in evidence.cells:
            steps[cell.label].add(cell.sampling.steps)
        cells = [cell for cell in evidence.cells if len(steps[cell.label]) > 1]
        points = [Point(label=cell.label, steps=cell.sampling.steps) for cell in cells]
        missing = sum(cell.key not in evidence.rows for cell in cells)
        reason = f"{missing} of {len(cells)} cells are not run" if missing else ""
        tops = max((c.nfe() for c in cells), default=0), max((c.sampling.steps for c in cells), default=0)
        if not points:
            reason = "no row of the table has several step counts"
        for column in self.columns:
            title = evidence.title(column, points[0]) if points else column
            figures = [(point, c) for point in points for c in (*COUNTED, column)]
            redraw = drawn_once(_redrawn)
            for counted, most in zip(COUNTED, tops, strict=True):
                for low, high in self.ranges:
                    yield Reading(
                        f"{title}: share of {TITLES[counted]} {low} to {min(high, most) if most > low else high}",
                        "variance of the logarithm explained / total",
                        Range(low=self.share),
                        partial(_explained, counted, low, high),
                        figures,
                        redraw,
                        partial(around, within=(0.0, 1.0)),
                        reason,
                    )

    def sentence(self, verdicts: Sequence[Verdict]) -> str:
        """ "No: of the variance of log FD, evaluations explain 65 % from 5 to 100, and step counts 57 %; of log KID, ..." """
        words = {v.word for v in verdicts}
        if len(words) > 1 or not words <= LEADS.keys():
            return super().sentence(verdicts)
        columns = []
        for title, of_column in groupby(verdicts, lambda v: v.definition.partition(":")[0]):
            ranged = [
                f"{100 * v.value:.0f} % from {' '.join(v.definition.split()[-3:])}"
                for v in of_column
                if v.value is not None
            ]
            of_evaluations, of_steps = listed(ranged[: len(self.ranges)]), listed(ranged[len(self.ranges) :])
            columns.append(f"of log {title}, evaluations explain {of_evaluations}, and step counts {of_steps}")
        return (
            f"{capitalised(LEADS[words.pop()])}: of the variance {'; '.join(columns)}; {100 * self.share:.0f} % are needed, "
            "and the range decides how much it is."
        )


def _redrawn(figures: Sequence[Figure], rows: Rows, generator: np.random.Generator) -> Drawn:
    return kept_positive(together(figures, rows, generator, DRAWS), rows)


def _explained(counted: str, low: int, high: int, *figures: np.ndarray) -> np.ndarray:
    """Of the cells within the range; `figures` are evaluations, steps and distance of each, [] or [draws]."""
    counts, distances = (np.stack(figures[i::3]) for i in (COUNTED.index(counted), 2))
    counts = counts.reshape(len(counts), -1)[:, 0]  # the same in every draw
    within = (low <= counts) & (counts <= high)
    if len(np.unique(counts[within])) < 2:
        raise NotTested(f"the cells have no two counts from {low} to {high}")
    explained = explained_by_falling if counted == "sampling.nfe" else explained_by_groups
    return explained(logarithms(distances[within]), counts[within])


def explained_by_groups(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Eta squared: of the variance of values [n] or [n,draws], the share between the counts [n], [] or [draws]."""
    means, group, _ = _grouped(values, counts)
    return _explained_by(means[group], values)


def explained_by_falling(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of the variance of values [n] or [n,draws], the share that the best function of counts [n] explains that never rises.

    The isotonic regression: at the i-th count, the least over a <= i of the largest over b >= i of the mean of all values
    from a to b (Robertson, Wright and Dykstra 1988, section 1.4).
    """
    means, group, sizes = _grouped(values, counts)
    k = len(sizes)
    from_to = np.full((k, k, *values.shape[1:]), np.nan)  # mean of all values from the a-th count to the b-th
    for a in range(k):
        weights = sizes[a:].reshape(-1, *[1] * (values.ndim - 1))
        from_to[a, a:] = np.cumsum(means[a:] * weights, axis=0) / np.cumsum(weights, axis=0)
    fit = np.stack([from_to[: i + 1, i:].max(axis=1).min(axis=0) for i in range(k)])
    return _explained_by(fit[group], values)


def _grouped(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean of the values of each count [k,...], which count each value has [n], and how many have each [k]."""
    _, group, sizes = np.unique(counts, return_inverse=True, return_counts=True)
    return np.stack([values[group == i].mean(axis=0) for i in range(len(sizes))]), group, sizes


def _explained_by(fit: np.ndarray, values: np.ndarray) -> np.ndarray:
    total = ((values - values.mean(axis=0)) ** 2).sum(axis=0)
    return np.asarray(1 - ((values - fit) ** 2).sum(axis=0) / total)
