"""How much of the variance of log distance over a table goes with one factor: eta squared, one factor at a time.

    share = (sum of squares between the groups of the factor) / (total sum of squares)

"It is all in the number of steps" then has two sides: steps explain nearly everything, and nothing else explains much.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field

from replication.harness.jobs.cell import Cell
from replication.registry import CLAIMS, SAMPLERS
from replication.report.claims.claim import Claim, Point
from replication.report.claims.draws import Drawn, Figure, Rows, together
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Range

DRAWS = 2_000

FACTORS: dict[str, Callable[[Cell], object]] = {
    "steps": lambda cell: cell.sampling.steps,
    "sampler": lambda cell: str(cell.sampling.sampler),
    "spacing": lambda cell: str(cell.sampling.spacing),
    "order": lambda cell: cell.sampling.sampler.build(SAMPLERS).order,
    "noise": lambda cell: cell.sampling.sampler.build(SAMPLERS).stochastic,
}


@CLAIMS.register("share")
class Share(Claim):
    """At least `share` of the variance of log distance over the table's cells goes with the number of steps."""

    share: Annotated[float, Field(gt=0, lt=1)]

    def readings(self, evidence: Evidence) -> Iterator[Reading]:
        """One for each factor, over the step counts that all rows with several of them share; all must be run."""
        steps: dict[str, set[int]] = defaultdict(set)
        for cell in evidence.cells:
            steps[cell.label].add(cell.sampling.steps)
        several = [counts for counts in steps.values() if len(counts) > 1]
        common = set.intersection(*several) if several else set()
        cells = [c for c in evidence.cells if len(steps[c.label]) > 1 and c.sampling.steps in common]
        missing = sum(cell.key not in evidence.rows for cell in cells)
        reason = f"{missing} of {len(cells)} cells are not run" if missing else ""
        figures = [(Point(label=cell.label, steps=cell.sampling.steps), "metric.fd") for cell in cells]
        drawn: list[Drawn] = []

        def redraw(_: Sequence[Figure], rows: Rows, generator: np.random.Generator) -> Drawn:
            """The same draws for every factor."""
            if not drawn:
                drawn.append(together(figures, rows, generator, DRAWS))
            return drawn[0]

        for name, factor in FACTORS.items():
            yield Reading(
                f"share of {name}",
                "variance of log distance between groups / total",
                Range(low=self.share) if name == "steps" else Range(high=1 - self.share),
                partial(_share_of, [factor(cell) for cell in cells]),
                figures,
                redraw,
                reason=reason if len(common) > 1 else "the rows share no two step counts",
            )


def _share_of(groups: Sequence[object], *figures: np.ndarray) -> np.ndarray:
    return eta_squared(np.log(figures), groups)


def eta_squared(values: np.ndarray, groups: Sequence[object]) -> np.ndarray:
    """The share of the variance of values [n,...] that lies between the groups of the first axis, [...]."""
    members: dict[object, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        members[group].append(i)
    mean = values.mean(axis=0)
    between = sum(len(of) * (values[of].mean(axis=0) - mean) ** 2 for of in members.values())
    share: np.ndarray = between / ((values - mean) ** 2).sum(axis=0)
    return share
