"""`replicate run` and `sample`: the jobs of an experiment computed, and images of one's own prompts."""

import argparse
import sys
from dataclasses import replace
from functools import partial

from replication.commands.options import cells_named, chosen, device_of, each_named, jobs_named, workplace
from replication.deadline import Deadline, OutOfTime
from replication.files import expanded, write_atomically
from replication.harness.cluster import workers_on_ray
from replication.harness.companions import companions
from replication.harness.experiment import Experiment, load_experiment
from replication.harness.given_weights import give, wanted, wanted_first
from replication.harness.home import project, state
from replication.harness.job import Job, jobs_of, trainings_of
from replication.harness.jobs.cell import Cell, find_cell
from replication.harness.measuring import strip
from replication.harness.store import Store
from replication.harness.sweep import Workers, journal_of, run
from replication.harness.workplace import Workplace, keeping
from replication.report.claims import Evidence, claims_of, markdown_claim
from replication.report.claims.evidence import others_of
from replication.report.plots import picture_grid
from replication.report.reproduced import committed_rows, reproduction, tags_beside
from replication.report.rows import replicates_of, rows_of
from replication.report.tables import main_tables
from replication.terminal import show
from replication.training.processes import started_together
from replication.types import SEEDS, InputError, RunError

# where no row is named: the guidance that prompts are drawn with, and the steps of images without one
PROMPTED_AT, STEPS = 3.0, 50


def run_experiments(options: argparse.Namespace) -> None:
    """One after the other, within one budget; all are read and checked before anything is computed.

    One that fails does not keep the next from its turn, and what was wrong with it is raised at the end.
    """
    if options.budget is not None and not options.budget >= 0:
        raise InputError(f"--budget {options.budget:g}: it is seconds, and not below 0")
    deadline = Deadline.within(options.budget)
    workers: Workers = companions
    if options.executor == "ray":
        if options.worker_cpus < 1:
            raise InputError(f"--worker-cpus {options.worker_cpus}: a worker has at least one core")
        workers = partial(
            workers_on_ray, device=options.device, device_of=device_of, cpus=options.worker_cpus, quiet=options.quiet
        )
        options = argparse.Namespace(**{**vars(options), "device": "cpu"})  # this process computes nothing
    asked = each_named(options)
    failed: list[RunError] = []
    with started_together(device_of(options.device)) as processes:
        if options.executor == "ray" and processes.several:
            raise InputError("--executor ray under torchrun: Ray starts its workers itself; leave one of the two out")
        for one in asked if options.weights else []:
            _fetch_first(one)
        for one, experiment, jobs in [(one, *jobs_named(one)) for one in asked]:
            place = replace(workplace(one, experiment), deadline=deadline, processes=processes)
            try:
                _run_experiment(one, experiment, jobs, place, workers)
            except RunError as error:
                failed.append(error)
                if len(asked) > 1:
                    print(f"{experiment.name}: {error}", file=sys.stderr, flush=True)
    if failed:
        raise next((error for error in failed if not isinstance(error, OutOfTime)), failed[0])


def _fetch_first(options: argparse.Namespace) -> None:
    """The text encoders and classifiers of the jobs that are asked for, before their files are read for the keys of a run."""
    experiment = load_experiment(options.experiment, dict(options.set), options.profile)
    if (scale := experiment.profiles[options.profile].scale if options.profile in experiment.profiles else 1) < 1:
        raise InputError(f"--weights with scale = {scale:g}: weights that are given are those of whole trainings")
    jobs = chosen(jobs_of(experiment, options.profile, check=False), options)
    place = workplace(options, experiment)
    for one in wanted_first([job for job in jobs if isinstance(job, Cell)]):
        print("\n".join(give(one, place)), flush=True)


def _run_experiment(
    options: argparse.Namespace, experiment: Experiment, jobs: list[Job], place: Workplace, workers: Workers
) -> None:
    place = keeping(place, trainings_of(jobs, place))
    every, jobs = jobs, chosen(jobs, options)
    if options.weights:
        for one in wanted([job for job in jobs if isinstance(job, Cell)], place):
            print("\n".join(give(one, place)), flush=True)
    results, journal = project() / "results", journal_of(jobs, place.state)
    committed = committed_rows(results / f"{experiment.name}-{options.profile}.csv")
    run(jobs, place, Store(place.state), tags_beside(committed), workers)
    if not place.processes.first:
        return
    claims = claims_of(experiment)
    others = others_of(experiment, claims, options.profile, state(), results, {})
    rows = rows_of(every, journal)
    replicates = replicates_of(rows, journal, results / f"{experiment.name}-{options.profile}.csv")
    evidence = Evidence(experiment, options.profile, every, rows, claims, others, replicates)
    for table in main_tables(jobs, rows):
        show(f"\n{table}\n", options.all)
    if len(jobs) < len(every) and claims:
        asked = [f"--row {label}" for label in options.row or ()] + [f"--only {k}={v}" for k, v in options.only]
        print(f"The claims are judged by every row of the profile that there is; {' '.join(asked)} ran no other.\n")
    for claim in claims:
        show(markdown_claim(claim, evidence), options.all)
    if committed:
        show(reproduction([rows[job.key] for job in jobs if job.key in rows], committed))


def _cell_for(prompts: list[str], cells: list[Cell], place: Workplace) -> Cell:
    """One that reads these prompts: what is trained already before the rest, guided by about PROMPTED_AT.

    Without a prompt, an unconditional one of about STEPS.
    """
    refused = InputError(f"--prompt: {'no' if prompts else 'every'} row of this table is conditional")
    reading = [cell for cell in cells if not prompts and cell.recipe.condition is None]
    for cell in cells if prompts else []:
        if (condition := cell.recipe.build_condition()) is not None:
            try:
                condition.of_prompts(prompts, cell.recipe.build_dataset())
                reading.append(cell)
            except InputError as error:
                refused = error

    def worth(cell: Cell) -> tuple[bool, float]:
        there = place.snapshots(cell.recipe).found(cell.recipe.training.steps)
        weight = g.weight if (g := cell.sampling.guidance) else 1.0
        return not there, abs(weight - PROMPTED_AT if prompts else cell.sampling.steps - STEPS)

    if not reading:
        raise refused
    return min(reading, key=worth)


def sample(options: argparse.Namespace) -> None:
    experiment, cells = cells_named(options)
    place = workplace(options, experiment)
    if options.row:
        cell = find_cell(cells, options.row, options.steps)
    else:
        cell = _cell_for(options.prompt, cells, place)
        cell = find_cell(cells, cell.label, options.steps or cell.sampling.steps)
    if options.n < 1:
        raise InputError(f"-n {options.n}: at least one image")
    if not 0 <= options.seed < SEEDS:
        raise InputError(f"--seed {options.seed}: a seed is a whole number from 0 to 2^64 - 1")
    out = expanded(options.out, "--out").absolute()
    if out.suffix != ".png":
        raise InputError(f"--out {options.out}: the picture is a PNG, and its name ends in .png")
    pictures = cell.prompted(options.prompt, options.n, options.seed, place)
    lines = [(title, strip(images)) for title, images in zip(options.prompt or [cell.title], pictures, strict=True)]
    write_atomically(out, picture_grid(lines))
    each = " for each prompt" if options.prompt else ""
    print(f"wrote {out}: {options.n} images{each}, {cell.title}, seed {options.seed}")
