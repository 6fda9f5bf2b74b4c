"""How much of the variance of log distance over a table goes with one factor: eta squared, one factor at a time.

    share = (sum of squares between the groups of the factor) / (total sum of squares)

"It is all in the number of steps" then has two sides: steps explain nearly everything, and nothing else explains much.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.registry import CLAIMS, SAMPLERS
from replication.report.claims.claim import OnRows
from replication.report.claims.evidence import Evidence, differing
from replication.report.claims.figures import figure, redrawn
from replication.report.claims.reading import percentiles
from replication.report.claims.verdict import NotTested, Range, Verdict, word_for

DRAWS = 2_000

FACTORS: dict[str, Callable[[Cell], object]] = {
    "steps": lambda cell: cell.sampling.steps,
    "sampler": lambda cell: str(cell.sampling.sampler),
    "spacing": lambda cell: str(cell.sampling.spacing),
    "order": lambda cell: cell.sampling.sampler.build(SAMPLERS).order,
    "noise": lambda cell: cell.sampling.sampler.build(SAMPLERS).stochastic,
}


@CLAIMS.register("share")
class Share(OnRows):
    """At least `share` of the variance of log distance over the table's cells goes with the number of steps."""

    share: Annotated[float, Field(gt=0, lt=1)]

    def judge(self, evidence: Evidence) -> list[Verdict]:
        """One verdict per factor, over the step counts that all rows with several of them share; all must be run."""
        steps = {
            cell.label: {c.sampling.steps for c in evidence.cells if c.label == cell.label} for cell in evidence.cells
        }
        rows = {label: counts for label, counts in steps.items() if len(counts) > 1}
        common = set.intersection(*rows.values()) if rows else set()
        cells = [cell for cell in evidence.cells if cell.label in rows and cell.sampling.steps in common]
        needed = {factor: Range(high=1 - self.share) for factor in FACTORS} | {"steps": Range(low=self.share)}
        formula = "variance of log distance between groups / total"
        try:
            records = _records(cells, evidence)
            unequal = differing(records, ["metric.fd"], self.unequal)
            generator = np.random.default_rng(0)
            drawn = np.log([redrawn(record, "metric.fd", generator, DRAWS) for record in records])
        except NotTested as reason:
            return [Verdict.untested(f"share of {name}", formula, needed[name], reason) for name in FACTORS]
        measured = np.log([[figure(record, "metric.fd")] for record in records])
        verdicts = []
        for name, factor in FACTORS.items():
            groups = [factor(cell) for cell in cells]
            value = float(eta_squared(measured, groups)[0])
            low, high = percentiles(value, eta_squared(drawn, groups))
            word, must = word_for(needed[name], low, high), str(needed[name])
            verdicts.append(Verdict(f"share of {name}", formula, value, low, high, must, None, word, "", unequal))
        return verdicts


def _records(cells: list[Cell], evidence: Evidence) -> list[Record]:
    """The rows of the cells; raises NotTested unless all of several step counts are run."""
    if len({cell.sampling.steps for cell in cells}) < 2:
        raise NotTested("the rows share no two step counts")
    missing = [cell for cell in cells if cell.key not in evidence.rows]
    if missing:
        raise NotTested(f"{len(missing)} of {len(cells)} cells are not run")
    return [evidence.rows[cell.key] for cell in cells]


def eta_squared(values: np.ndarray, groups: Sequence[object]) -> np.ndarray:
    """The share of the variance of values [n,draws] that lies between the groups of the first axis, [draws]."""
    members: dict[object, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        members[group].append(i)
    mean = values.mean(axis=0)
    between = sum(len(of) * (values[of].mean(axis=0) - mean) ** 2 for of in members.values())
    share: np.ndarray = between / ((values - mean) ** 2).sum(axis=0)
    return share
