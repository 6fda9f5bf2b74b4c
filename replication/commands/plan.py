"""`replicate plan`: the jobs of experiments, checked, and what they would take; nothing is computed."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from replication.commands.options import chosen, each_named, jobs_named, print_json, workplace
from replication.harness.expected import Ahead, Expected, Forecast
from replication.harness.experiment import Experiment
from replication.harness.fetched_weights import is_here, size_of
from replication.harness.given_weights import Wanted, wanted, wanted_first
from replication.harness.job import Job
from replication.harness.jobs.cell import Cell
from replication.harness.journal import Failure, Record
from replication.harness.sweep import journal_of
from replication.harness.versions import reasons
from replication.harness.workplace import PlannedTraining, Workplace, planned_trainings
from replication.report.rows import rows_of
from replication.report.tables import Table
from replication.terminal import show

Line = Mapping[str, Any]
UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
NOTE = (
    "Seconds and memory are estimates: multiply-adds and traffic counted, over what this machine does now, or over earlier "
    "rows and snapshots of it."
)


class _Ahead(NamedTuple):
    """A job with what there is of it."""

    job: Job
    place: Workplace
    counted: Ahead
    row: Record | None
    state: str

    @property
    def to_do(self) -> bool:
        return not self.state.startswith("done")


def plan(options: argparse.Namespace) -> None:
    """The jobs of all these experiments, the trainings behind them, each once, and what is left of both."""
    asked = [(one, *jobs_named(one)) for one in each_named(options)]
    ahead = [found for one, experiment, jobs in asked for found in _ahead(one, experiment, jobs)]
    place = ahead[0].place  # it is the profile's batch alone that differs
    forecast = Forecast(place)
    for one in ahead:
        if one.row:
            forecast.learn(one.counted, one.row)
    taking = [forecast.of_job(one.counted) if one.to_do else Expected() for one in ahead]
    given = [one.job for one in ahead if options.weights and isinstance(one.job, Cell)]
    planned = planned_trainings(
        training
        for one in ahead
        if one.to_do and not (options.weights and isinstance(one.job, Cell))
        for training in one.job.trainings(place)
    )
    training = [(one, forecast.of_training(one)) for one in planned]
    whole = Expected.of_all([*taking, *(of for _, of in training)])
    named = len(asked) > 1
    tables: dict[str, list[Line]] = {
        "weights": [_of_weights(one) for one in (*wanted_first(given), *wanted(given, place))],
        "cells": [_of_job(one, of, named) for one, of in zip(ahead, taking, strict=True) if isinstance(one.job, Cell)],
        "first stages": [
            _of_job(one, of, named) for one, of in zip(ahead, taking, strict=True) if not isinstance(one.job, Cell)
        ],
        "trainings": [_of_training(one, of) for one, of in training],
        "all": [{"jobs to do": sum(one.to_do for one in ahead), **_columns(whole)}],
    }
    if options.json:
        print_json({**tables, "note": NOTE})
    else:
        show("\n\n".join([*(str(_table(lines)) for lines in tables.values() if lines), NOTE]), options.all)


def _ahead(options: argparse.Namespace, experiment: Experiment, every: Sequence[Job]) -> Iterator[_Ahead]:
    """The chosen jobs of one experiment."""
    jobs, place = chosen(every, options), workplace(options, experiment)
    journal = journal_of(every, place.state)
    rows, failed = rows_of(jobs, journal), journal.failed()
    for job in jobs:
        row = rows.get(job.key)
        failure = journal.failure(job.key) if job.key in failed else None
        yield _Ahead(job, place, job.ahead(place), row, _state(job, row, failure))


def _of_weights(one: Wanted) -> Line:
    """What `run --weights auto` gives in the place of a training."""
    state = "here" if is_here(one.file) else "to download"
    return {
        "for": one.title,
        "weights": one.file.name,
        "size": size_of(one.file),
        "state": state,
        "address": one.file.url,
    }


def _of_job(one: _Ahead, expected: Expected, named: bool) -> Line:
    """`named`: with its experiment."""
    job, what = one.job, dict[str, Any](job=one.job.title)
    if isinstance(job, Cell):
        what = {
            "sampler": job.label,
            "spacing": str(job.sampling.spacing),
            "steps": job.sampling.steps,
            "NFE": job.nfe(),
            "snapshot": f"{job.recipe.training_key[:12]}-{job.recipe.training.steps}",
        }
    return {
        **({"experiment": job.experiment} if named else {}),
        "cell": job.key[:12],
        **what,
        **_columns(expected),
        "paper": ", ".join(f"{metric} {value:g}" for metric, value in job.targets.items()),
        "state": one.state,
    }


def _of_training(planned: PlannedTraining, expected: Expected) -> Line:
    steps = " ".join(map(str, planned.steps))
    of = {"training": planned.snapshots.key[:12], "first used by": planned.title, "snapshots after": steps}
    return {**of, "steps to do": planned.to_do(), **_columns(expected)}


def _columns(expected: Expected) -> Line:
    return {"seconds": round(expected.seconds, 3), "disk": expected.disk, "memory": expected.memory}


def _table(lines: Sequence[Line]) -> Table:
    return Table(list(lines[0]), [[_text(name, value) for name, value in line.items()] for line in lines])


def _text(name: str, value: Any) -> str:
    if name == "seconds":
        return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
    if name in ("disk", "memory"):
        return next((f"{value / unit:.3g} {of}" for unit, of in UNITS if value >= unit), f"{value} B")
    return str(value)


def _state(job: Job, row: Record | None, failure: Failure | None) -> str:
    """Whether there is anything to do for a job, and why."""
    if row is None:
        return f"to run, failed: {failure.reason}" if failure else "to run"
    if changed := job.changes(row):
        return f"stale: {reasons(changed)}"
    lacking = job.lacking(row)
    return f"done, without {', '.join(lacking)}" if lacking else "done"
