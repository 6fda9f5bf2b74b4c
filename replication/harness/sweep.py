"""A sweep: the jobs of a profile that have no row of today's versions are computed and journalled, by whoever works on them."""

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock

from replication.deadline import OutOfTime
from replication.files import Held, Unwritable, locked
from replication.harness.computing import Computes, Computing
from replication.harness.expected import Forecast
from replication.harness.job import Job, in_order, rows_among, trainings_of
from replication.harness.journal import Failure, Journal, Record
from replication.harness.store import Giving, Store, Tags, no_tags, unsynced
from replication.harness.workplace import Workplace
from replication.progress import Sweep
from replication.training.loop import curve_in
from replication.training.processes import ALONE
from replication.types import InputError, RunError, one_line

POLL = 1.0  # seconds between two looks at what other processes work on
Workers = Callable[[Sequence[Job], Workplace], AbstractContextManager[Sequence[Computes]]]  # who compute the jobs there


def journal_of(jobs: Sequence[Job], state: Path) -> Journal:
    """The journal that the jobs of one profile share."""
    return Journal(state / "journal" / f"{jobs[0].experiment}-{jobs[0].profile}")


def all_journals(state: Path) -> list[Journal]:
    """Every journal there is, those of changed or foreign experiments too."""
    return [Journal(folder) for folder in sorted((state / "journal").glob("*")) if folder.is_dir()]


def run(
    jobs: Sequence[Job], place: Workplace, store: Store, tags: Tags = no_tags, workers: Workers | None = None
) -> None:
    """Compute what is missing row by row, each after what it needs; a row is in the journal before it is in MLflow.

    Where the place has several processes, all call this: they train together, and share the rows as any processes do.
    Any number of processes may run on one state folder: what another one holds is passed over, helped with when nothing else
    is left, and looked at again until it has its row, or its holder has died.
    A row of earlier versions is measured again from its stored samples, and computed anew where there are none. A job that
    fails is kept in the journal with its reason, and the others are computed.
    Raises InputError at once if data, weights or the tracking server are missing; Unwritable where nothing can be kept; at
    the end RunError for jobs that failed, or when MLflow did not take a row; OutOfTime for jobs that the place's deadline
    left no time for. Rows that are done are kept in any case.
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
    place = replace(place, failed_trainings={})
    if place.processes.several:
        _train_together(jobs, missing, place)
        place = replace(place, processes=ALONE)
    if len(missing) < len(jobs):
        print(f"{len(jobs) - len(missing)} of {len(jobs)} rows are done already", flush=True)
    giving = Giving(journal, store, tags)
    try:
        alone = replace(place, waits=False)
        with Sweep(journal.folder.name, _expected(jobs, missing, rows, place), place.state) as ahead:
            sweep = _Sweep(journal, rows, giving, ahead, alone)
            with nullcontext([Computing(alone)]) if workers is None or not missing else workers(missing, alone) as team:
                sweep.computed(missing, team)
        failed, put_off = list(sweep.failed.values()), sweep.late(missing)
    finally:
        _keep_curves(missing, place, journal)
    try:
        giving.give_the_rest()
    except RunError as error:
        if not failed:
            raise
        print(error, file=sys.stderr)
    late = f"no time for {len(put_off)} of {len(missing)} rows; the first of them: {put_off[0]}" if put_off else ""
    if failed:
        listed = "".join(f"\n  {one.title}: {one.reason}" for one in failed)
        raise RunError(
            f"{len(failed)} of {len(missing)} rows failed; the same command tries them again:{listed}"
            + (f"\n{late}" if late else "")
        )
    if late:
        raise OutOfTime(late)


class _Ours(Exception):
    """Another one of the team is at the job."""


class _Sweep:
    """The rows of a run on their way into the journal; a thread for each who computes them."""

    def __init__(self, journal: Journal, earlier: Mapping[str, Record], giving: Giving, ahead: Sweep, place: Workplace):
        self.journal, self.earlier, self.giving, self.ahead, self.place = journal, earlier, giving, ahead, place
        self.begun = time.time()
        self.failed: dict[str, Failure] = {}  # by the key of a job
        self.put_off: dict[str, OutOfTime] = {}
        self.said: set[str] = set()
        self._ours: set[str] = set()  # keys of the jobs that one of the team is at
        self._taking, self._writing = Lock(), Lock()

    def computed(self, jobs: Sequence[Job], team: Sequence[Computes]) -> None:
        """Every job is done, failed or put off at the end, by one of the team or by another process."""
        self.ahead.together = len(team)
        if len(team) == 1:
            self._computed_by(team[0], jobs)
            return
        with ThreadPoolExecutor(len(team)) as threads:
            try:
                for done in as_completed([threads.submit(self._computed_by, one, jobs) for one in team]):
                    done.result()
            except BaseException:
                for one in team:
                    one.stop()
                raise

    def late(self, jobs: Sequence[Job]) -> list[OutOfTime]:
        """Why jobs were put off that nobody has finished or tried since."""
        put_off = [job for job in jobs if job.key in self.put_off and job.key not in self.failed]
        return [self.put_off[job.key] for job in put_off if not self._done(job)]

    def _done(self, job: Job) -> bool:
        """Whether the journal has its row of today's versions."""
        found = self.journal.read(job.key)
        return found is not None and not job.changes(found)

    def _computed_by(self, one: Computes, jobs: Sequence[Job]) -> None:
        left, helped = list(jobs), set[str]()
        while left:
            held = []
            for job in left:
                for other in () if self._over() else self._longest(jobs):
                    if other.key not in helped:
                        helped.add(other.key)
                        one.help(other)
                if not self._passed(job, one):
                    held.append(job)
            if len(held) == len(left) and not self._over() and not sum(one.help(job) for job in held):
                if others := [job for job in held if job.key not in self._ours]:
                    self._say(f"{len(others)} rows are computed by other processes; waiting for them")
                time.sleep(POLL)
            left = held

    def _over(self) -> bool:
        return self.place.deadline.left() <= 0

    def _longest(self, jobs: Sequence[Job]) -> list[Job]:
        """What one of the team is at that takes longer than each one's part of what nobody is at.

        Who helps with these first, and takes short rows at the end, has others wait less for the last one.
        """
        seconds, ours = dict(self.ahead.left), set(self._ours)
        share = sum(seconds.get(job.key, 0.0) for job in jobs if job.key not in ours) / self.ahead.together
        return [job for job in jobs if job.key in ours and seconds.get(job.key, 0.0) > share]

    def _passed(self, job: Job, one: Computes) -> bool:
        """Whether the job is settled; then it is not ahead any more."""
        if settled := self._settled(job, one):
            self.ahead.passed(job.key)
        return settled

    def _settled(self, job: Job, one: Computes) -> bool:
        """Whether the job needs no further look; False where another process holds it, or a training that it needs."""
        if self._over():  # to find out how long it takes takes time too
            self.put_off[job.key] = OutOfTime(f"{job.title}: the time is over")
            return True
        try:
            with self._at(job.key), locked(self.place.state / "locks" / job.key, job.title, wait=False):
                if self._done(job):
                    return True  # another process has computed it meanwhile
                tried = self.journal.failure(job.key)
                if tried is not None and tried.at >= self.begun:  # by another process, meanwhile
                    self.failed[job.key] = tried
                    return True
                with self.ahead.row(job.key, job.title):
                    computed = one.compute(job, self.earlier.get(job.key))
                with self._writing:
                    self.journal.write(computed)
                    self.giving.give(job.key)
        except _Ours:
            return False
        except Held as error:
            self._say(f"{job.title}: {error}; it is come back to")
            return False
        except OutOfTime as error:  # what comes after it may take less
            self.put_off[job.key] = error
        except Unwritable:  # neither would another row be kept
            raise
        except Exception as error:
            self._fail(job, error)
        return True

    @contextmanager
    def _at(self, key: str) -> Iterator[None]:
        """Raises _Ours where another one of the team is at it."""
        with self._taking:
            if key in self._ours:
                raise _Ours
            self._ours.add(key)
        try:
            yield
        finally:
            self._ours.discard(key)

    def _fail(self, job: Job, error: Exception) -> None:
        """Keep why; of an error that nobody foresaw, where it came from too."""
        foreseen = isinstance(error, InputError | RunError)
        reason = str(error) if foreseen else f"{type(error).__name__}: {one_line(error)}"
        trace = "" if foreseen else "".join(traceback.format_exception(error))
        failure = Failure(job.title, reason, trace, time.time())
        print(f"{trace}{job.title}: {reason}; the sweep goes on without it", file=sys.stderr, flush=True)
        self.journal.write_failure(job.key, failure)
        self.failed[job.key] = failure

    def _say(self, text: str) -> None:
        """Once in a run."""
        if text not in self.said:
            print(text, flush=True)
            self.said.add(text)


def _expected(
    jobs: Sequence[Job], missing: Sequence[Job], rows: Mapping[str, Record], place: Workplace
) -> dict[str, float]:
    """By key, the seconds that each missing row is thought to take, with the trainings that it is the first to need."""
    forecast, found = Forecast(place), dict[str, float]()
    for job in jobs if missing else ():
        if job.key in rows:
            forecast.learn(job.ahead(place), rows[job.key])
    trainings = {one.snapshots.key: forecast.of_training(one).seconds for one in trainings_of(missing, place)}
    for job in missing:
        needed = [trainings.pop(one.snapshots.key, 0.0) for one in job.trainings(place)]
        found[job.key] = forecast.of_job(job.ahead(place)).seconds + sum(needed)
    return found


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
    Giving(journal, store, tags).give_the_rest()
    return without


def _train_together(jobs: Sequence[Job], missing: Sequence[Job], place: Workplace) -> None:
    """The trainings that the first process finds missing. One that fails is left to the jobs that need it."""
    planned = {one.snapshots.key: one for one in trainings_of(jobs, place)}
    for key in place.processes.on_first(lambda: [o.snapshots.key for o in trainings_of(missing, place) if o.to_do()]):
        with suppress(RunError):
            planned[key].done_in(place)


def _keep_curves(jobs: Sequence[Job], place: Workplace, journal: Journal) -> None:
    """Of every training behind these jobs, as far as it has gone: of one that failed too."""
    for one in trainings_of(jobs, place):
        reached = one.snapshots.before(one.steps[-1] + 1)
        if reached and (curve := curve_in(reached[1]))["step"]:
            of = {"experiment": jobs[0].experiment, "profile": jobs[0].profile, "dataset": one.of_dataset.name}
            setting = {"training": one.snapshots.key, "title": one.title, "identity": dict(one.snapshots.identity)}
            journal.write_curve({**of, **setting, **curve})
