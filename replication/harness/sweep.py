"""A sweep: the jobs of a profile that have no row of today's versions are computed, one after the other, and journalled."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from replication.deadline import OutOfTime
from replication.files import locked
from replication.harness.job import Job, in_order, rows_among
from replication.harness.journal import Journal
from replication.harness.store import Store
from replication.harness.sync import Giving, Tags, no_tags, sync, unsynced
from replication.harness.workplace import PlannedTraining, Workplace, planned_trainings
from replication.training.loop import curve_in
from replication.training.processes import ALONE
from replication.types import RunError


def journal_of(jobs: Sequence[Job], state: Path) -> Journal:
    """The journal that the jobs of one profile share."""
    return Journal(state / "journal" / f"{jobs[0].experiment}-{jobs[0].profile}")


def all_journals(state: Path) -> list[Journal]:
    """Every journal there is, those of changed or foreign experiments too."""
    return [Journal(folder) for folder in sorted((state / "journal").glob("*")) if folder.is_dir()]


def run(jobs: Sequence[Job], place: Workplace, store: Store, tags: Tags = no_tags) -> None:
    """Compute what is missing row by row, each after what it needs; a row is in the journal before it is in MLflow.

    Where the place has several processes, all call this: they train together, and the first one does the rest.
    A row of earlier versions is measured again from its stored samples, and computed anew where there are none.
    Raises InputError at once if data, weights or the tracking server are missing; RunError when a job fails, or at the
    end when MLflow did not take a row; OutOfTime at the end for jobs that the place's deadline left no time for. Rows that
    are done are kept in any case.
    """
    journal = journal_of(jobs, place.state)
    rows = rows_among(jobs, journal.rows())
    missing = [job for job in in_order(jobs) if job.key not in rows or job.changes(rows[job.key])]

    def check_all() -> None:
        if missing or unsynced(journal, store):
            store.check(jobs[0].experiment)
        for check in {name: check for job in missing for name, check in job.prerequisites(place).items()}.values():
            check()

    place.processes.on_first(check_all)
    if place.processes.several:
        _train_together(jobs, missing, place)
        if not place.processes.first:
            return
        place = replace(place, processes=ALONE)
    if len(missing) < len(jobs):
        print(f"{len(jobs) - len(missing)} of {len(jobs)} rows are done already", flush=True)
    put_off: list[OutOfTime] = []
    giving = Giving(journal, store, tags)
    try:
        for job in missing:
            with locked(place.state / "locks" / job.key, job.title):
                found = journal.read(job.key)
                if found is None or job.changes(found):  # no other process has computed it meanwhile
                    earlier = rows.get(job.key)
                    try:
                        again = job.measured_again(earlier, place) if earlier else None
                        journal.write(again or job.compute(place))
                        giving.give(job.key)
                    except OutOfTime as error:  # what comes after it may take less
                        put_off.append(error)
    finally:
        _keep_curves(missing, place, journal)
    giving.give_the_rest()
    if put_off:
        raise OutOfTime(f"no time for {len(put_off)} of {len(missing)} rows; the first of them: {put_off[0]}")


def measure_again(jobs: Sequence[Job], place: Workplace, store: Store, tags: Tags = no_tags) -> list[Job]:
    """Measure, from stored samples alone, the rows of earlier versions and those that lack a metric; nothing is drawn.

    Returns the jobs whose samples are not there, the rows of which stay as they are: `run` draws those. Raises as `run`
    does.
    """
    journal, without = journal_of(jobs, place.state), []
    rows = rows_among(jobs, journal.rows())
    outdated = [job for job in jobs if job.key in rows and (job.changes(rows[job.key]) or job.lacking(rows[job.key]))]
    if outdated or unsynced(journal, store):
        store.check(jobs[0].experiment)
    for job in outdated:
        with locked(place.state / "locks" / job.key, job.title):
            if again := job.measured_again(rows[job.key], place):
                journal.write(again)
            else:
                without.append(job)
    sync(journal, store, trust_marks=True, tags=tags)
    return without


def _train_together(jobs: Sequence[Job], missing: Sequence[Job], place: Workplace) -> None:
    """The trainings that the first process finds missing. One that fails is left to the jobs that need it."""
    planned = {one.snapshots.key: one for one in _trainings(jobs, place)}
    for key in place.processes.on_first(lambda: [o.snapshots.key for o in _trainings(missing, place) if o.to_do()]):
        with suppress(RunError):
            planned[key].done_in(place)


def _trainings(jobs: Sequence[Job], place: Workplace) -> list[PlannedTraining]:
    return planned_trainings(wanted for job in jobs for wanted in job.trainings(place))


def _keep_curves(jobs: Sequence[Job], place: Workplace, journal: Journal) -> None:
    """Of every training behind these jobs, as far as it has gone: of one that failed too."""
    for one in _trainings(jobs, place):
        reached = one.snapshots.before(one.steps[-1] + 1)
        if reached and (curve := curve_in(reached[1]))["step"]:
            of = {"experiment": jobs[0].experiment, "profile": jobs[0].profile, "dataset": one.of_dataset.name}
            setting = {"training": one.snapshots.key, "title": one.title, "identity": dict(one.snapshots.identity)}
            journal.write_curve({**of, **setting, **curve})
