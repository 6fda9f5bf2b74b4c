"""MLflow: one run per row, and each table. The only import of mlflow in the project.

The journal is the record; MLflow gets its rows afterwards, as often as it takes. A row is found again by its key and
content, so that logging it twice makes no second run.
"""

import importlib.util
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from replication.files import locked
from replication.harness.journal import MEASURED, PROVENANCE, Curve, Record
from replication.settings import content_key
from replication.types import InputError, RunError

BATCH = 100  # parameters in one call, at most


def steps_of(record: Record) -> str:
    """ " x 50" for a row of samples; a first stage takes no steps."""
    return f" x {record['sampling.steps']}" if "sampling.steps" in record else ""


class Store:
    """The tracking store at $MLFLOW_TRACKING_URI, by default an SQLite file and an artifact folder under `state`."""

    def __init__(self, state: Path):
        self.state = state
        self.address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(state / 'mlflow.db').resolve()}"

    @property
    def is_remote(self) -> bool:
        return self.address.startswith(("http://", "https://"))

    @property
    def installed(self) -> bool:
        """Whether mlflow is there, which a run can do without: the journal has its rows."""
        return importlib.util.find_spec("mlflow") is not None

    def check(self) -> None:
        """Raises InputError, in seconds and without importing mlflow, if a remote store does not answer."""
        if not (self.is_remote and self.installed):
            return
        try:
            urllib.request.urlopen(self.address.rstrip("/") + "/health", timeout=5).close()
        except urllib.error.HTTPError:
            pass  # it answers, if not at this path: a proxy, or a hosted service
        except (urllib.error.URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise InputError(
                f"MLFLOW_TRACKING_URI={self.address}: the tracking server does not answer ({reason}); "
                "start it, or unset the variable to use the store under runs/"
            ) from error

    def log(self, record: Record, artifacts: Sequence[tuple[Path, str]], tags: Mapping[str, str] = {}) -> None:
        """One run for this row with its files, each in a folder, unless the store has it already. RunError if it fails."""
        name = f"{record['label']}{steps_of(record)} ({record['profile']})"
        self._log(
            record["experiment"],
            name,
            {"cell": record["cell"], "row": content_key(record)},
            {k: str(v) for k, v in record.items() if k.startswith(PROVENANCE)} | dict(tags),
            [(0, {k: float(v) for k, v in record.items() if k.startswith(MEASURED) and v is not None})],
            {k: str(v) for k, v in record.items() if not k.startswith((*MEASURED, *PROVENANCE))},
            artifacts,
        )

    def log_curve(self, curve: Curve) -> None:
        """One run for a training as far as it went, its metrics by step, unless the store has it."""
        name = f"training of {curve['title']} ({curve['profile']})"
        tags = {"training": curve["training"], "row": content_key(curve)}
        columns = {name: values for name, values in curve.items() if isinstance(values, list) and name != "step"}
        points = [(int(step), {k: v[i] for k, v in columns.items()}) for i, step in enumerate(curve["step"])]
        self._log(curve["experiment"], name, tags, metrics=points)

    def log_table(
        self, experiment: str, profile: str, records: list[Record], files: list[Path], described: Mapping[str, str] = {}
    ) -> None:
        """The whole table as one run's table and its report files as artifacts, unless the store has this very table.

        `described`: further tags of the run.
        """
        tags = {"table": f"{experiment}-{profile}", "row": content_key(records)}
        columns = dict.fromkeys(column for record in records for column in record)
        table = {column: [record.get(column) for record in records] for column in columns}
        self._log(experiment, tags["table"], tags, described, artifacts=[(file, None) for file in files], table=table)

    def _log(
        self,
        experiment: str,
        title: str,
        found_by: dict[str, str],
        tags: Mapping[str, str] = {},
        metrics: Sequence[tuple[int, Mapping[str, float]]] = (),
        params: Mapping[str, str] = {},
        artifacts: Sequence[tuple[Path, str | None]] = (),
        table: dict[str, list[Any]] | None = None,
    ) -> None:
        """One run, unless the store has a finished one with the tags `found_by`; metrics by step."""
        with self._writing(experiment) as client:
            wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in found_by.items())
            # a run that was cut off while being written is not finished, and is written again
            wanted += " and attributes.status = 'FINISHED'"
            if client.search_runs([e.experiment_id for e in client.search_experiments()], wanted, max_results=1):
                return
            from mlflow.entities import Metric, Param

            named = client.get_experiment_by_name(experiment)
            local = None if self.is_remote else (self.state / "artifacts" / experiment).resolve().as_uri()
            number = named.experiment_id if named else client.create_experiment(experiment, artifact_location=local)
            run = client.create_run(number, run_name=title, tags={**found_by, **tags}).info.run_id
            now = int(time.time() * 1000)
            points = [Metric(name, value, now, step) for step, values in metrics for name, value in values.items()]
            described = [Param(name, value) for name, value in params.items()]
            # as few transactions as MLflow's limits allow: one for each takes seconds a row
            for i in range(0, max(len(points), len(described)), BATCH):
                client.log_batch(run, points[i : i + BATCH], described[i : i + BATCH])
            if table is not None:
                client.log_table(run, table, artifact_file=f"{title}.json")
            for file, folder in artifacts:
                client.log_artifact(run, str(file), folder)
            client.set_terminated(run)

    @cached_property
    def _client(self) -> Any:
        # a dead server shall cost seconds, not the default of minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        for chatty in ("alembic", "mlflow"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        import mlflow

        mlflow.set_tracking_uri(self.address)  # log_table looks here for its artifacts
        return mlflow.MlflowClient(self.address)

    @contextmanager
    def _writing(self, what: str) -> Iterator[Any]:
        """The client, with this machine's other writers kept out: SQLite would answer "database is locked"."""
        with locked(self.state / "locks" / "mlflow", "the MLflow store"):
            try:
                self.state.mkdir(parents=True, exist_ok=True)
                yield self._client
            except (InputError, RunError):
                raise
            except Exception as error:  # MLflow raises its backends' own errors as well
                reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
                raise RunError(f"MLflow at {self.address} did not take {what}: {reason}") from error
