"""How much of the variance of log distance over a table goes with one factor: eta squared, one factor at a time.

    share = (sum of squares between the groups of the factor) / (total sum of squares)

"It is all in the number of steps" then has two sides: steps explain nearly everything, and nothing else explains much.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np

from replication.harness.cell import Cell
from replication.harness.claim import ShareClaim
from replication.registry import SAMPLERS
from replication.report.claims.verdict import Evidence, Verdict, at_least, at_most

DRAWS = 2_000

FACTORS: dict[str, Callable[[Cell], object]] = {
    "steps": lambda cell: cell.sampling.steps,
    "sampler": lambda cell: str(cell.sampling.sampler),
    "spacing": lambda cell: str(cell.sampling.spacing),
    "order": lambda cell: cell.sampling.sampler.build(SAMPLERS).order,
    "noise": lambda cell: cell.sampling.sampler.build(SAMPLERS).stochastic,
}


def judge_share(claim: ShareClaim, evidence: Evidence) -> list[Verdict]:
    """One verdict per factor, over the step counts that all rows with several of them share; all those cells must be run."""
    rows = {label: steps for label, steps in _steps_of(evidence.cells).items() if len(steps) > 1}
    common = set.intersection(*rows.values()) if rows else set()
    cells = [cell for cell in evidence.cells if cell.label in rows and cell.sampling.steps in common]
    complete = evidence.suffices(claim) and len(common) > 1 and all(cell.key in evidence.rows for cell in cells)
    return [_verdict(claim, evidence, factor, cells if complete else []) for factor in FACTORS]


def _verdict(claim: ShareClaim, evidence: Evidence, factor: str, cells: list[Cell]) -> Verdict:
    decides = factor == "steps"
    threshold = claim.share if decides else 1 - claim.share
    needed = f"at {'least' if decides else 'most'} {threshold:.3g}"
    name, formula = f"share of {factor}", "variance of log distance between groups / total"
    if not cells:
        return Verdict(name, formula, None, None, None, needed, None, "not tested")
    groups = [FACTORS[factor](cell) for cell in cells]
    fd = np.array([evidence.rows[cell.key]["metric.fd"] for cell in cells])
    error = np.array([evidence.rows[cell.key]["metric.fd_se"] for cell in cells])
    noise = np.random.default_rng(0).standard_normal((DRAWS, len(cells)))
    # on the log scale the relative error is the standard error, and no draw is negative
    draws = [eta_squared(np.log(fd) + z * error / fd, groups) for z in noise]
    low, high = (float(q) for q in np.quantile(draws, [0.025, 0.975]))
    word = (at_least if decides else at_most)(threshold, low, high)
    return Verdict(name, formula, eta_squared(np.log(fd), groups), low, high, needed, None, word)


def eta_squared(values: np.ndarray, groups: list[object]) -> float:
    """The share of the variance of `values` [n] that lies between the groups."""
    members: dict[object, list[float]] = defaultdict(list)
    for value, group in zip(values, groups, strict=True):
        members[group].append(float(value))
    mean = float(values.mean())
    between = sum(len(of) * (float(np.mean(of)) - mean) ** 2 for of in members.values())
    return between / float(((values - mean) ** 2).sum())


def _steps_of(cells: Iterable[Cell]) -> dict[str, set[int]]:
    steps: dict[str, set[int]] = defaultdict(set)
    for cell in cells:
        steps[cell.label].add(cell.sampling.steps)
    return steps
