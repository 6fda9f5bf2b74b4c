"""From the journal to MLflow: rows as they come, and whatever a store lacks whenever it is asked to be level."""

import sys
from collections.abc import Callable, Mapping, Sequence

from replication.harness.journal import Curve, Journal, Record
from replication.harness.mlflow_runs import Run, run_of_curve, run_of_row
from replication.harness.store import Store
from replication.types import InputError, RunError

Tags = Callable[[Record], Mapping[str, str]]  # of a row's run in MLflow, beside those of its own


def no_tags(_: Record) -> Mapping[str, str]:
    return {}


def unsynced(journal: Journal, store: Store) -> list[str]:
    """The keys of rows and curves that this store was not given."""
    return [key for key in [*journal.done(), *journal.curves()] if not journal.run_of(key, store.shown)]


def sync(
    journal: Journal, store: Store, trust_marks: bool, tags: Tags = no_tags, keys: Sequence[str] | None = None
) -> int:
    """Give MLflow the journal's rows and curves, or those of `keys`; returns how many it has of them.

    With `trust_marks` what this store was given once is not asked after again. A run whose row was measured again is
    deleted there. Raises RunError for the first that MLflow doesn't take.
    """
    curves, count = journal.curves() if keys is None else {}, 0
    asked = [*journal.done(), *curves] if keys is None else keys
    asked = [key for key in asked if not (trust_marks and journal.run_of(key, store.shown))]
    of = curves.get(asked[0]) or journal.read(asked[0]) if asked else None
    if of is None:
        return 0
    try:
        with store.sweep(of["experiment"], of["profile"]) as sweep:
            for key in asked:
                if trust_marks and journal.run_of(key, store.shown):
                    continue  # another process has given it meanwhile
                if run := _run(key, journal, curves, tags):
                    given, before = sweep.log(run), journal.outdated_run(key, store.shown)
                    if before not in (None, given):
                        sweep.drop(before)
                    journal.mark_synced(key, store.shown, given)
                    count += 1
    except RunError as error:
        raise RunError(
            f"{error}; the rows are safe in {journal.folder}: `replicate sync` gives them to MLflow later"
        ) from error
    return count


def _run(key: str, journal: Journal, curves: Mapping[str, Curve], tags: Tags) -> Run | None:
    if key in curves:
        return run_of_curve(curves[key])
    record = journal.read(key)
    return run_of_row(record, journal.artifacts(key), tags(record)) if record else None


class Giving:
    """Each row of a sweep to MLflow when it is done. A store that fails once is left alone until the end, and costs no row."""

    def __init__(self, journal: Journal, store: Store, tags: Tags = no_tags):
        self._journal, self._store, self._tags = journal, store, tags
        self._answers = store.installed

    def give(self, key: str) -> None:
        try:
            if self._answers:
                sync(self._journal, self._store, trust_marks=True, tags=self._tags, keys=[key])
        except (RunError, InputError) as error:
            self._answers = False
            print(f"{error}. The sweep goes on, and MLflow is asked again at its end", file=sys.stderr, flush=True)

    def give_the_rest(self) -> None:
        """Raises RunError as `sync` does."""
        if self._store.installed:
            sync(self._journal, self._store, trust_marks=True, tags=self._tags)
        else:
            print(
                "mlflow is not installed here: the rows are in the journal, and `replicate sync` gives them to it later"
            )
