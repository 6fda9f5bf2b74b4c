"""`replicate plan`: the jobs of an experiment, checked, and what they would take; nothing is computed."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from replication.commands.options import chosen, device_of, jobs_named, print_json
from replication.harness.auto_weights import Wanted, encoders, wanted
from replication.harness.expected import Expected, Forecast
from replication.harness.fetched_weights import is_here, size_of
from replication.harness.home import state
from replication.harness.job import Job
from replication.harness.jobs.cell import Cell
from replication.harness.journal import Journal, Record
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


def plan(options: argparse.Namespace) -> None:
    """The jobs, the trainings behind them, and what is left of both."""
    experiment, every = jobs_named(options)
    jobs = chosen(every, options)
    place = Workplace(state(), device_of(options.device), experiment.profile(options.profile).batch_size)
    journal, forecast = journal_of(every, place.state), Forecast(place)
    rows = rows_of(jobs, journal)
    ahead = {job.key: job.ahead(place) for job in jobs}
    for key, row in rows.items():
        forecast.learn(ahead[key], row)
    states = {job.key: _state(job, rows.get(job.key), journal) for job in jobs}
    taking = {
        job.key: Expected() if states[job.key].startswith("done") else forecast.of_job(ahead[job.key]) for job in jobs
    }
    drawn = [job for job in jobs if isinstance(job, Cell)] if options.weights else []
    lacking = [*encoders(drawn), *wanted(drawn, place)]
    planned = planned_trainings(
        training
        for job in jobs
        if not states[job.key].startswith("done")
        for training in job.trainings(place)
        if not (options.weights and isinstance(job, Cell))
    )
    training = [(one, forecast.of_training(one)) for one in planned]
    cells = [_of_cell(job, taking[job.key], states[job.key]) for job in jobs if isinstance(job, Cell)]
    others = [_of_job(job, taking[job.key], states[job.key]) for job in jobs if not isinstance(job, Cell)]
    whole = Expected.of_all([*taking.values(), *(of for _, of in training)])
    tables: dict[str, list[Line]] = {
        "weights": [_of_weights(one) for one in lacking],
        "cells": cells,
        "first stages": others,
        "trainings": [_of_training(one, of) for one, of in training],
        "all": [{"jobs to do": sum(of != Expected() for of in taking.values()), **_columns(whole)}],
    }
    if options.json:
        print_json({**tables, "note": NOTE})
    else:
        show("\n\n".join([*(str(_table(lines)) for lines in tables.values() if lines), NOTE]), options.all)


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


def _of_cell(cell: Cell, expected: Expected, state: str) -> Line:
    snapshot = f"{cell.recipe.training_key[:12]}-{cell.recipe.training.steps}"
    return {
        "cell": cell.key[:12],
        "sampler": cell.label,
        "spacing": str(cell.sampling.spacing),
        "steps": cell.sampling.steps,
        "NFE": cell.nfe(),
        "snapshot": snapshot,
        **_columns(expected),
        "paper": _published(cell),
        "state": state,
    }


def _of_job(job: Job, expected: Expected, state: str) -> Line:
    return {"cell": job.key[:12], "job": job.title, **_columns(expected), "paper": _published(job), "state": state}


def _of_training(planned: PlannedTraining, expected: Expected) -> Line:
    steps = " ".join(map(str, planned.steps))
    of = {"training": planned.snapshots.key[:12], "first used by": planned.title, "snapshots after": steps}
    return {**of, "steps to do": planned.to_do(), **_columns(expected)}


def _columns(expected: Expected) -> Line:
    return {"seconds": round(expected.seconds, 3), "disk": expected.disk, "memory": expected.memory}


def _published(job: Job) -> str:
    """What the papers print, from the table that the row names first: the paper's own."""
    targets: dict[str, float] = {}
    for value in job.published:
        targets.setdefault(value.metric, value.value)
    return ", ".join(f"{metric} {value:g}" for metric, value in targets.items())


def _table(lines: Sequence[Line]) -> Table:
    return Table(list(lines[0]), [[_text(name, value) for name, value in line.items()] for line in lines])


def _text(name: str, value: Any) -> str:
    if name == "seconds":
        return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
    if name in ("disk", "memory"):
        return next((f"{value / unit:.3g} {of}" for unit, of in UNITS if value >= unit), f"{value} B")
    return str(value)


def _state(job: Job, row: Record | None, journal: Journal) -> str:
    """Whether there is anything to do for a job, and why."""
    if row is None:
        failure = journal.failure(job.key)
        return f"to run, failed: {failure.reason}" if failure else "to run"
    if changed := job.changes(row):
        return f"stale: {reasons(changed)}"
    lacking = job.lacking(row)
    return f"done, without {', '.join(lacking)}" if lacking else "done"
