"""`replicate run` and `replicate plan`."""

import argparse

import torch

from replication.commands.options import jobs_named, workplace
from replication.harness.home import project, state
from replication.harness.job import of_row
from replication.harness.jobs.cell import Cell
from replication.harness.store import Store
from replication.harness.sweep import journal_of, run
from replication.harness.trainings import keeping, planned_trainings
from replication.harness.workplace import Workplace
from replication.registry import SAMPLERS
from replication.report.claims import Evidence, claims_of, markdown_claim
from replication.report.claims.evidence import others_of
from replication.report.rows import rows_of
from replication.report.tables import main_tables, markdown


def run_experiment(options: argparse.Namespace) -> None:
    experiment, jobs = jobs_named(options)
    place = workplace(options, experiment)
    place = keeping(place, planned_trainings(w for job in jobs for w in job.trainings(place)))
    if options.row:
        named = [job for label in dict.fromkeys(options.row) for job in of_row(jobs, label)]
        needed = {key for job in named for key in job.needs}
        jobs = named + [job for job in jobs if job.key in needed and job not in named]
    run(jobs, place, Store(place.state))
    claims = claims_of(experiment)
    others = others_of(experiment, claims, options.profile, state(), project() / "results")
    rows = rows_of(jobs, journal_of(jobs, place.state))
    evidence = Evidence(experiment, options.profile, jobs, rows, claims, others)
    for table in main_tables(jobs, rows):
        print(f"\n{table}\n")
    for claim in claims:
        print(markdown_claim(claim, evidence))


def plan(options: argparse.Namespace) -> None:
    _, jobs = jobs_named(options)
    rows, lines = rows_of(jobs, journal_of(jobs, state())), []
    for cell in [job for job in jobs if isinstance(job, Cell)]:
        schedule = cell.recipe.build_schedule()
        nfe = cell.sampling.sampler.build(SAMPLERS).nfe(schedule, cell.sampling.times(schedule))
        nfe *= 2 if cell.sampling.guidance else 1
        published = ", ".join(f"{metric} {value:g}" for metric, value in cell.targets.items())
        snapshot = f"{cell.recipe.training_key[:12]}-{cell.recipe.training.steps}"
        of_cell = [cell.key[:12], cell.label, str(cell.sampling.spacing), str(cell.sampling.steps), str(nfe), snapshot]
        lines.append([*of_cell, published, "done" if cell.key in rows else "to run"])
    print(markdown(["cell", "sampler", "spacing", "steps", "NFE", "snapshot", "paper", "state"], lines))
    for table in main_tables([job for job in jobs if not isinstance(job, Cell)], rows):
        print(f"\n{table}")
    place = Workplace(state(), torch.device("cpu"), batch_size=1)
    planned = planned_trainings(wanted for job in jobs for wanted in job.trainings(place))
    lines = [[one.snapshots.key[:12], one.title, " ".join(map(str, one.steps)), str(one.to_do())] for one in planned]
    lines.append(["", "all", "", str(sum(one.to_do() for one in planned))])
    print("\n" + markdown(["training", "first used by", "snapshots after", "steps to do"], lines))
