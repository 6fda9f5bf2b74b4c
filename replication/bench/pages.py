"""The report: tables, pictures, verdicts and the page of the rows in results/, written into a folder that is then removed."""

import tempfile
from functools import partial
from pathlib import Path

import torch

from replication.bench.turns import Task, Work
from replication.harness.experiment import SIZES, experiment_names, load_experiment
from replication.harness.home import project
from replication.harness.sweep import journal_of
from replication.report.claims.evidence import Known, evidence_of
from replication.report.page import write_page
from replication.report.speed import OURS
from replication.report.write import write_claims, write_report


def report(_: torch.device) -> list[Task]:
    """Of every experiment, from rows alone: no journal is looked at."""
    results = project() / "results"
    rows = sum(len(path.read_text(encoding="utf-8").splitlines()) - 1 for path in results.glob("*.csv"))
    touched = 2 * sum(path.stat().st_size for path in results.glob("*") if path.is_file())
    return [Task(f"{rows:,} rows", lambda: Work({OURS: partial(_written, results)}, bytes=touched, warmups=0))]


def _written(results: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        nowhere, folder, known = Path(place) / "state", Path(place) / "results", Known()
        every = []
        for experiment in map(load_experiment, experiment_names()):
            for profile in experiment.profiles or SIZES:
                evidence = evidence_of(experiment, profile, nowhere, results, known)
                every.append(evidence)
                if evidence.jobs:
                    write_report(evidence, journal_of(evidence.jobs, nowhere), folder)
        write_claims(every, folder)
        write_page(every, folder)
