"""A job: one piece of work that makes one row. Each kind of job is one file of harness/jobs/, which is found there.

`@JOBS.register("kind")` decorates what makes its jobs: (experiment, profile, check) -> a list in the order of the table. It
raises InputError naming the file, the row and what is wrong in it. Checking runs every network on the meta device, which
needs no memory but takes time.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from replication.harness.expected import Ahead
from replication.harness.experiment import Experiment
from replication.harness.journal import Computed, Record
from replication.harness.protocol import Protocol
from replication.harness.published import PublishedValue
from replication.harness.table import TableSpec
from replication.harness.versions import changes, lacking, local_metrics, nearest, raised, version_columns
from replication.harness.workplace import PlannedTraining, Workplace, planned_trainings
from replication.registry import JOBS, unknown
from replication.settings import Settings, content_key


class Job(Settings):
    """What a sweep computes, keeps and shows, whatever its kind. Frozen.

    tables: those that show its rows, the main one first. picture: the end of the name of the file that holds the strips, a
    heading, and what the strips show; picture_rows: how many lines of images a strip has.
    """

    tables: ClassVar[tuple[TableSpec, ...]]
    picture: ClassVar[tuple[str, str, str]]
    picture_rows: ClassVar[int] = 1

    experiment: str
    profile: str
    label: str
    protocol: Protocol
    published: list[PublishedValue]
    needs: list[str] = []  # keys of the jobs that train what this one builds on: they come first where they are missing

    @property
    def title(self) -> str:
        """The label with what distinguishes it from others of this label: "DDIM x 50"."""
        return self.label

    @property
    def caption(self) -> str:
        """The text beside its strip of images."""
        return self.title

    @property
    def targets(self) -> dict[str, float]:
        """The published value of each metric, from the table that the row names first: the paper's own."""
        targets: dict[str, float] = {}
        for value in self.published:
            targets.setdefault(value.metric, value.value)
        return targets

    def identity(self) -> dict[str, Any]:
        """Everything that the row depends on besides versions; labels and papers have no part in it."""
        raise NotImplementedError

    def versions(self) -> dict[str, int]:
        """Today's versions of what makes the row: its columns version.*."""
        return {}

    def changes(self, row: Record) -> dict[str, tuple[int, int]]:
        """In which versions an earlier row of the job is not today's: (the row's, today's). Empty for one that is done."""
        if row["cell"] == self.key and not any(f"metric.{name}" in row for name in local_metrics()):
            return {}
        return changes(row, self.versions())

    def lacking(self, row: Record) -> list[str]:
        """The metrics that there are today, and that the row was not measured for."""
        return lacking(row, self.versions())

    @cached_property
    def setting(self) -> str:
        """SHA-256 of the canonical JSON of the identity: what rows of every version have in common."""
        return content_key(self.identity())

    @cached_property
    def key(self) -> str:
        """The setting itself where all versions are 1, else SHA-256 of it and of those that are not; equal on every machine."""
        versions = raised(self.versions())
        return content_key({"setting": self.setting, **versions}) if versions else self.setting

    @cached_property
    def columns(self) -> Record:
        """What describes the job before it ran: the first columns of its row."""
        names = {"experiment": self.experiment, "profile": self.profile, "cell": self.key, "label": self.label}
        return {**names, "setting": self.setting, **version_columns(self.versions()), **self.described()}

    def described(self) -> Record:
        """The columns that are particular to its kind."""
        return {}

    def prerequisites(self, place: Workplace) -> Mapping[str, Callable[[], object]]:
        """By name: checks that data and weights from elsewhere are there, which raise InputError."""
        return {}

    def trainings(self, place: Workplace) -> list[PlannedTraining]:
        """Those whose snapshots it needs, each behind those that it builds on."""
        return []

    def ahead(self, place: Workplace) -> Ahead:
        """What there is to do for it, of which nothing has been done yet; trainings are apart. By default nothing."""
        return Ahead()

    def compute(self, place: Workplace) -> Computed:
        """What it comes to. What has been computed of it before is used."""
        raise NotImplementedError

    def help(self, place: Workplace) -> bool:
        """Do a share of what another process computes just now, if there is one that nobody has yet; whether it was."""
        return False

    def measured_again(self, row: Record, place: Workplace) -> Computed | None:
        """The same from what is stored of an earlier row, without drawing images; None where that does not suffice."""
        return None


AnyJob = TypeVar("AnyJob", bound=Job)


def jobs_of(experiment: Experiment, profile: str, check: bool = True) -> list[Job]:
    """Every job of a profile, kind by kind; raises InputError for what is wrong in the file.

    Without `check` they serve to look up rows, not to be run.
    """
    return [job for kind in JOBS.names() for job in JOBS.get(kind)(experiment, profile, check)]


def trainings_of(jobs: Iterable[Job], place: Workplace) -> list[PlannedTraining]:
    """Those that any of these jobs needs, each once, with all the steps that one asks for."""
    return planned_trainings(wanted for job in jobs for wanted in job.trainings(place))


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """The same jobs, each behind those that it needs."""
    by_key = {job.key: job for job in jobs}
    ordered: dict[str, Job] = {}

    def add(job: Job) -> None:
        for key in job.needs:
            if key in by_key:
                add(by_key[key])
        ordered.setdefault(job.key, job)

    for job in jobs:
        add(job)
    return list(ordered.values())


def rows_among(jobs: Sequence[Job], records: Iterable[Record]) -> dict[str, Record]:
    """By the job's key, the row of each job that has one; of an earlier version, where there is none of today's.

    Rows from before there was a column `setting` have it for their key, since nothing had a version then.
    """
    by_key, by_setting = {}, defaultdict(list)
    for record in records:
        by_key[record["cell"]] = record
        by_setting[record.get("setting", record["cell"])].append(record)
    found = {
        job.key: by_key.get(job.key)
        or (nearest(by_setting[job.setting], job.versions()) if job.setting in by_setting else None)
        for job in jobs
    }
    return {key: record for key, record in found.items() if record is not None}


def of_row(jobs: Sequence[AnyJob], label: str) -> list[AnyJob]:
    """The jobs of this label; raises InputError with the nearest valid one."""
    found = [job for job in jobs if job.label == label]
    if not found:
        raise unknown("row", label, list(dict.fromkeys(job.label for job in jobs)))
    return found
