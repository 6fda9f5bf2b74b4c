"""What can be wrong in an experiment's claims, found before anything is run or judged."""

from replication.harness.claim import Exact, Point, PriorClaim, Statement
from replication.harness.experiment import Experiment, sibling
from replication.registry import DATASETS, QUANTITIES, SCHEDULES, unknown
from replication.types import InputError


def check_claims(experiment: Experiment) -> None:
    """Every part that a claim names is built, and every cell that it names is in its table; raises InputError."""
    for claim in experiment.claims:
        try:
            _check_awaited(claim, experiment)
            for named in claim.named():
                if isinstance(named, Exact):
                    named.build(QUANTITIES)
                elif named.experiment is None or named.experiment != claim.awaits:
                    _check_point(named, experiment)
            if isinstance(claim, PriorClaim):
                claim.dataset.build(DATASETS)
                for part in claim.schedules:
                    part.build(SCHEDULES)
        except InputError as error:
            raise InputError(f"{experiment.path}: claim {claim.name}: {error}") from error


def _check_awaited(claim: Statement, experiment: Experiment) -> None:
    """An experiment that is waited for isn't there yet, and the claim is about it."""
    if claim.awaits is None:
        return
    if experiment.path.with_name(f"{claim.awaits}.toml").is_file():
        raise InputError(f"awaits {claim.awaits!r}, which is there now: take the key out and name its cells")
    named = sorted({point.experiment or experiment.name for point in claim.named() if isinstance(point, Point)})
    if claim.awaits not in named:
        raise unknown("experiment in awaits", claim.awaits, named)


def _check_point(point: Point, experiment: Experiment) -> None:
    """The cell is in a profile of the experiment that the point names; in one that lacks it, the claim is not tested."""
    table = sibling(experiment, point.experiment) if point.experiment else experiment
    if not table.profiles:
        raise InputError(f"{point.cell}: {table.path.name} has no rows; say experiment = ... in the point")
    rows = [row for profile in table.profiles.values() for row in profile.rows]
    valid = sorted({Point(label=row.label, steps=steps).cell for row in rows for steps in row.steps})
    if point.cell not in valid:
        raise unknown("cell", point.cell, valid)
