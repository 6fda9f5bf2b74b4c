"""MLflow: an experiment for each experiment file, a run for each of its profiles, and below that one for each row and training.

The journal is the record; MLflow gets its rows as they come, and whatever a store lacks whenever it is asked to be level. A
run is found again by the hash of what it shows, so that giving it twice makes no second one.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from replication.files import locked
from replication.harness.journal import Curve, Journal, Record, plain_json
from replication.harness.mlflow_runs import (
    DIGEST,
    LONGEST_NAME,
    Dataset,
    Run,
    legal,
    run_of_curve,
    run_of_row,
    shortened,
    table_of,
)
from replication.harness.tracking import Tracking
from replication.settings import content_key
from replication.types import InputError, RunError

Tags = Callable[[Record], Mapping[str, str]]  # of a row's run in MLflow, beside those of its own
BATCH, METRICS = 100, 800  # parameters and metrics of one call, of which MLflow takes 1000 together
PARENT, TABLES = "mlflow.parentRunId", "mlflow.loggedArtifacts"


class Sweep:
    """The run of one experiment and profile, and what is below it, while nobody else on this machine writes there."""

    def __init__(self, client: Any, number: str, experiment: str, profile: str):
        self._client, self._number, self._title = client, number, f"{experiment}-{profile}"
        command = f"replicate run {experiment} --profile {profile}"
        tags = {"experiment": experiment, "profile": profile, "mlflow.source.name": command}
        key = content_key([experiment, profile])
        found = self._found(f"tags.sweep = '{key}'", "attributes.start_time ASC")
        self._is_new = found is None
        own = {**tags, "kind": "sweep", "sweep": key}
        self._run = found or client.create_run(number, run_name=self._title[:LONGEST_NAME], tags=own)
        self._tags = {**tags, PARENT: self._run.info.run_id}

    def log(self, run: Run) -> str:
        """The run that shows this: the one that is there, or a new one. One that was cut off is written again."""
        if not self._is_new and (found := self._found(f"tags.row = '{run.row}'")):
            if found.info.status == "FINISHED":
                return str(found.info.run_id)
            self._client.delete_run(found.info.run_id)
        return self._written(run)

    def drop(self, run: str) -> None:
        """Delete a run whose row was measured again, as a user may: MLflow can restore it."""
        if found := self._found(f"attributes.run_id = '{run}'"):
            self._client.delete_run(found.info.run_id)

    def log_table(
        self, records: Sequence[Record], files: Sequence[Path], tags: Mapping[str, str], content: str
    ) -> None:
        """The rows as the table of the sweep's run, and its report's files, unless `content` says that it has them."""
        number, name = self._run.info.run_id, f"{self._title}.json"
        if self._run.data.tags.get("table") == content:
            return
        self._client.log_text(number, plain_json(table_of(records)), name)
        for file in files:
            self._client.log_artifact(number, str(file))
        shown = {TABLES: json.dumps([{"path": name, "type": "table"}]), **tags, "table": content}
        for key, value in legal(shortened(shown)[0]).items():
            self._client.set_tag(number, key, value)

    def end(self) -> None:
        """The sweep's run ends with the last that was given."""
        self._client.set_terminated(self._run.info.run_id)

    def _found(self, wanted: str, order: str = "attributes.start_time DESC") -> Any:
        return next(iter(self._client.search_runs([self._number], wanted, max_results=1, order_by=[order])), None)

    def _written(self, run: Run) -> str:
        from mlflow.entities import Metric, Param
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        tags, long_tags = shortened({**self._tags, "row": run.row, **run.tags})
        params, long_params = shortened(run.params)
        made = self._client.create_run(self._number, run_name=run.title[:LONGEST_NAME], tags=legal(tags))
        number, now = str(made.info.run_id), int(time.time() * 1000)
        described = [Param(name, value) for name, value in legal(params).items()]
        points = [Metric(k, v, now, step) for step, values in run.points for k, v in legal(values).items()]
        # as few transactions as MLflow's limits allow: each takes as long as a disk or a server does
        while described or points:
            self._client.log_batch(number, points[:METRICS], described[:BATCH])
            points, described = points[METRICS:], described[BATCH:]
        if run.datasets:
            self._client.log_inputs(number, [_input(dataset) for dataset in run.datasets])
        for name, text in legal(long_tags | long_params).items():
            self._client.log_text(number, text, f"text/{name}.txt")
        place = get_artifact_repository(made.info.artifact_uri, tracking_uri=self._client.tracking_uri)
        for file, folder in run.files:  # the client would ask where for each run, which takes as long as writing it
            place.log_artifact(str(file), folder)
        self._client.set_terminated(number)
        return number


def _input(dataset: Dataset) -> Any:
    """The dataset as MLflow knows datasets: made by this package, which its name names."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import DatasetInput, InputTag

    source = CodeDatasetSource({"mlflow.source.name": "diffusion-replication", "sha256": dataset.digest or ""})
    digest = dataset.digest and dataset.digest[:DIGEST]
    entity = MetaDataset(source, name=dataset.name[:LONGEST_NAME], digest=digest)  # type: ignore[abstract]
    return DatasetInput(entity._to_mlflow_entity(), [InputTag("mlflow.data.context", dataset.context)])


class Store(Tracking):
    """The tracking store, written to."""

    @contextmanager
    def sweep(self, experiment: str, profile: str) -> Iterator[Sweep]:
        """The run of this profile, and this machine's other writers kept out. Raises RunError for what MLflow didn't take."""
        with locked(self.state / "locks" / "mlflow", "the MLflow store"):
            try:
                self.state.mkdir(parents=True, exist_ok=True)
                named = self.client.get_experiment_by_name(experiment)
                self.check_usable(experiment, dict(named) if named else {})
                local = None if self.is_remote else self.files_of(experiment)
                number = (
                    named.experiment_id if named else self.client.create_experiment(experiment, artifact_location=local)
                )
                sweep = Sweep(self.client, number, experiment, profile)
                yield sweep
                sweep.end()
            except (InputError, RunError):
                raise
            except Exception as error:  # MLflow raises its backends' own errors as well
                raise RunError(f"MLflow at {self.shown} did not take {experiment}: {self.reason(error)}") from error


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
    of = next((one for key in asked if (one := curves.get(key) or journal.read(key))), None)
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
