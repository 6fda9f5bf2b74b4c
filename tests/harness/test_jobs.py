"""What a sweep does with jobs of any kind: order, and a third kind that is one file."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from harness.tiny import write_tiny
from harness.tiny_latent import write_tiny_latent

from replication.harness.experiment import Experiment, load_experiment
from replication.harness.job import Job, in_order, jobs_of
from replication.harness.jobs.cell import Cell
from replication.harness.jobs.first_stage import FirstStageCell
from replication.harness.journal import Computed
from replication.harness.store import Store
from replication.harness.sweep import journal_of, run
from replication.harness.table import NOT_RUN, Column, TableSpec
from replication.harness.workplace import Workplace
from replication.registry import JOBS
from replication.report.claims import Evidence
from replication.report.rows import read_csv, rows_of
from replication.report.tables import tables_of
from replication.report.write import write_report


class Doubling(Job):
    """A job that trains nothing: a number, and twice that."""

    tables: ClassVar = (
        TableSpec("Doubled", (Column("what", "label"), Column("twice", "metric.twice", "{:.1f}", absent=NOT_RUN))),
    )
    picture: ClassVar = ("doubled", "Doubled", "nothing")

    number: int

    def identity(self) -> dict[str, Any]:
        return {"number": self.number}

    def compute(self, place: Workplace) -> Computed:
        return Computed({**self.columns, "metric.twice": 2.0 * self.number}, b"")


def doublings(experiment: Experiment, profile: str, check: bool) -> list[Doubling]:
    """Two of them."""
    protocol = experiment.profile(profile).protocol
    return [
        Doubling(experiment=experiment.name, profile=profile, label=f"n{n}", protocol=protocol, published=[], number=n)
        for n in (3, 4)
    ]


def test_a_first_stage_comes_before_the_cells_that_need_it(project: Path) -> None:
    """Catches a cell of latents whose first stage is measured after it, and cells of pixels that wait for one."""
    jobs = jobs_of(load_experiment(str(write_tiny_latent(project))), "cpu")
    assert [type(job) for job in jobs] == [Cell, Cell, Cell, FirstStageCell]
    assert [job.label for job in in_order(jobs)] == ["pixels", "small", "latents", "text"]


def test_a_third_kind_is_run_kept_and_shown_like_the_others(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a sweep, a journal, a table or a CSV that knows the kinds by name."""
    monkeypatch.setattr(JOBS, "names", lambda: ["doubling"])
    monkeypatch.setattr(JOBS, "get", lambda kind: doublings)
    experiment = load_experiment(str(write_tiny(project)))
    jobs = jobs_of(experiment, "cpu")
    assert [line[1] for line in tables_of(jobs, {})["Doubled"].lines] == [NOT_RUN, NOT_RUN]
    place = Workplace(project / "runs", torch.device("cpu"), batch_size=8, progress=False)
    run(jobs[:1], place, Store(place.state))
    journal = journal_of(jobs, place.state)
    evidence = Evidence(experiment, "cpu", jobs, rows_of(jobs, journal))
    table = tables_of(jobs, evidence.rows)["Doubled"]
    assert table.lines == [["n3", "6.0"], ["n4", NOT_RUN]]
    assert table.keys == [jobs[0].key, None]


def test_one_file_holds_the_rows_of_every_kind(project: Path) -> None:
    """Catches rows of one kind that are lost in the common CSV, or that get the other's columns."""
    experiment = load_experiment(str(write_tiny_latent(project)))
    jobs = jobs_of(experiment, "cpu")
    rows = {
        job.key: {**job.columns, "metric.fd": 1.0, "metric.fd_low": 0.9, "metric.fd_high": 1.1, "sampling.nfe": 2}
        for job in jobs
    }
    journal = journal_of(jobs, project / "runs")
    write_report(Evidence(experiment, "cpu", jobs, rows), journal, project / "results")
    assert {row["cell"]: row for row in read_csv(project / "results" / "latent-cpu.csv")} == rows
