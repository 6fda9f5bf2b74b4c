"""The tracking address: which store MLflow logs to, whether it can be used, and how it is shown without its secrets.

Addresses are checked before anything is computed, whatever their scheme, with MLflow's own client.
"""

import importlib.util
import logging
import os
import re
import shlex
import sqlite3
import warnings
from collections.abc import Mapping
from contextlib import closing, suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from replication.types import InputError, one_line

VARIABLE = "MLFLOW_TRACKING_URI"
ADVICE = f"an address is http://HOST:PORT or sqlite:///FILE, and without {VARIABLE} the store is under runs/"
MOUNTS = Path("/proc/self/mounts")  # of Linux
LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay")  # file systems of one machine
_USER = re.compile(r"//([^/@:]*:)?(.*)@")  # user and password, which an address may hold, up to the last @
_OPTIONS = re.compile(r"\?.*", re.DOTALL)  # a token or a password may be among them


def _ours(experiment: str) -> str:
    """How the address ends of the folder that a state folder keeps an experiment's files in."""
    return Path("/artifacts", experiment).as_uri().removeprefix("file://")


def _commit_sooner() -> None:
    """A row is eight commits, most of whose time would be waiting for the disk.

    A write-ahead log waits for it every thousand pages alone. A power cut may then cost an own store its last rows, which the
    journal has; the store stays whole. Machines that share a file system can't share such a log: there each commit waits.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "connect", _connected):
        event.listen(Engine, "connect", _connected)


def _connected(connection: Any, _: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        (_, _, file), *_ = connection.execute("PRAGMA database_list")
        connection.execute("PRAGMA synchronous = NORMAL")
        with suppress(sqlite3.OperationalError):  # another process has it open: it stays as it is
            connection.execute(f"PRAGMA journal_mode = {'WAL' if _is_local(Path(file).absolute()) else 'DELETE'}")


@cache
def _is_local(path: Path) -> bool:
    """Whether it lies on a disk of this machine alone, or in its memory; False where the system does not say."""
    try:
        mounts = [line.split()[1:3] for line in MOUNTS.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return False
    places = [re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), place) for place, _ in mounts]
    holding = [(len(place), i) for i, place in enumerate(places) if path.is_relative_to(place)]
    return mounts[max(holding)[1]][1] in LOCAL


class Tracking:
    """The store at $MLFLOW_TRACKING_URI, by default an SQLite file and an artifact folder under `state`."""

    def __init__(self, state: Path):
        self.state = state
        path = str((state / "mlflow.db").resolve())
        # what comes after a ? would be options; with the driver's name MLflow makes no folder of the quoted name beside it
        quoted = path.replace("%", "%25").replace("?", "%3F")
        own = f"{'sqlite' if quoted == path else 'sqlite+pysqlite'}:///{quoted}"
        self.address = os.environ.get(VARIABLE) or own
        self.is_own = self.address == own

    @property
    def shown(self) -> str:
        """The address without its password and its options: what is printed and kept."""
        return _OPTIONS.sub("?***", _USER.sub(lambda user: f"//{user[1] or ''}***@", self.address))

    @property
    def is_remote(self) -> bool:
        return self.address.startswith(("http://", "https://"))

    @property
    def installed(self) -> bool:
        """Whether mlflow is there, which a run can do without: the journal has its rows."""
        return importlib.util.find_spec("mlflow") is not None

    def check(self, experiment: str = "Default") -> None:
        """Ask for an experiment as logging will. Raises InputError for an address or a state that MLflow cannot use."""
        if not self.installed or (self.is_own and not (self.state / "mlflow.db").exists()):
            return  # the default store is made with the first row
        try:
            if self.is_remote:
                self._ask_server(experiment)
            else:
                self._connect()
                named = self.client.get_experiment_by_name(experiment)
                self.check_usable(experiment, dict(named) if named else {})
        except InputError:
            raise
        except Exception as error:  # MLflow raises its backends' own errors as well
            raise InputError(f"{self._named}: MLflow cannot use this ({self.reason(error)}); {ADVICE}") from error

    @property
    def _named(self) -> str:
        return f"the store {self.shown}" if self.is_own else f"{VARIABLE}={self.shown}"

    def _ask_server(self, experiment: str) -> None:
        """With MLflow's own client: its certificates, proxies, passwords and tokens. One try of a few seconds."""
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        try:
            addressed = urlsplit(self.address).hostname and urlsplit(self.address).port != 0
        except ValueError:  # whose words may hold a part of the password
            addressed = False
        if not addressed:
            raise InputError(f"{self._named}: this is not an address; {ADVICE}")
        try:
            answer = http_request(
                get_default_host_creds(self.address),
                "/api/2.0/mlflow/experiments/get-by-name",
                "GET",
                params={"experiment_name": experiment},
                max_retries=0,
                timeout=5,
                raise_on_status=False,
            )
        except Exception as error:
            raise InputError(
                f"{self._named}: the tracking server does not answer ({self.reason(error)}); start it, or name another: "
                f"{ADVICE}"
            ) from error
        try:
            found = answer.json()
        except ValueError:
            found = None
        if answer.status_code in (401, 403, 407):
            raise InputError(
                f"{self._named}: the tracking server refuses ({answer.status_code} {answer.reason}): MLFLOW_TRACKING_USERNAME "
                "and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, say who you are"
            )
        # one that does not know the experiment says so in JSON; an answer of a few words is taken for MLflow's
        known = answer.status_code < 300 or (isinstance(found, dict) and "error_code" in found)
        if not known or answer.text.lstrip().startswith("<"):
            raise InputError(
                f"{self._named}: what answers ({answer.status_code} {answer.reason}) is no MLflow server; give its root, "
                "without the path of a page"
            )
        if answer.status_code >= 500:
            raise InputError(f"{self._named}: the tracking server fails ({self._hidden(str(found['message']))[:300]})")
        if isinstance(found, dict):
            self.check_usable(experiment, found.get("experiment", {}))

    def _connect(self) -> None:
        """To a database, once: MLflow itself tries for minutes. Raises what the driver does, or that there is none."""
        from mlflow.store.db.db_types import DATABASE_ENGINES
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.exc import SAWarning

        if not self.address.lower().startswith(tuple(DATABASE_ENGINES)):
            return
        url = make_url(self.address)
        if url.get_backend_name() == "sqlite":
            if not url.database or url.database == ":memory:":
                raise InputError(f"{self._named}: a database in memory is gone when the command ends; {ADVICE}")
            file = Path(url.database)
            file.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(file if file.exists() else file.parent, os.W_OK):
                raise InputError(f"{self._named}: {file} is not writable; {ADVICE}")
        with warnings.catch_warnings():
            warnings.simplefilter("error", SAWarning)  # that an option is not known, among others
            engine = create_engine(url)
            try:
                engine.connect().close()
            finally:
                engine.dispose()

    def check_usable(self, name: str, experiment: Mapping[str, Any]) -> None:
        """Raises InputError for an experiment that takes no runs, or whose files would land where nobody looks."""
        if experiment.get("lifecycle_stage") == "deleted":
            raise InputError(
                f"{self._named}: experiment {name!r} has been deleted there. To have it back: MLFLOW_TRACKING_URI="
                f"{shlex.quote(self.shown)} mlflow experiments restore --experiment-id {experiment['experiment_id']}; or give "
                "the experiment another name, that of its file"
            )
        place = urlsplit(experiment.get("artifact_location") or "")
        if place.scheme == "file" and place.path.endswith(_ours(name)) and not self.is_own:
            kept = Path(unquote(place.path)).parents[1]
            if not kept.exists():
                raise InputError(
                    f"{self._named}: files of experiment {name!r} are kept under {kept}, which is not there: mount it or move "
                    "it back, or give the experiment another name, that of its file"
                )

    def _follow_the_folder(self) -> None:
        """MLflow keeps absolute paths of files: where the state folder is another one now, its own store's are changed."""
        if not (self.is_own and (self.state / "mlflow.db").exists()):
            return
        with closing(sqlite3.connect(self.state / "mlflow.db")) as database, database:
            try:
                kept = database.execute("SELECT experiment_id, name, artifact_location FROM experiments").fetchall()
            except sqlite3.Error:
                return  # none of MLflow's: it says so itself
            for number, name, before in kept:
                now = self.files_of(name)
                if before != now and before.endswith(_ours(name)):
                    database.execute(
                        "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (now, number)
                    )
                    database.execute(
                        "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) WHERE experiment_id = ? "
                        "AND substr(artifact_uri, 1, ?) = ?",
                        (now, len(before) + 1, number, len(before), before),
                    )

    def files_of(self, experiment: str) -> str:
        """Where a store that is no server keeps the files of an experiment."""
        return (self.state / "artifacts" / experiment).resolve().as_uri()

    def reason(self, error: Exception) -> str:
        """What an error comes to in one line, without secrets; of a server's the innermost, the operating system's or TLS's."""
        while isinstance(cause := error.__cause__ or (self.is_remote and error.__context__), Exception):
            error = cause
        return self._hidden(one_line(error))[:600]

    def _hidden(self, text: str) -> str:
        user = _USER.search(self.address)
        known = [
            user[2] if user else "",
            *(value for _, value in parse_qsl(self.address.partition("?")[2]) if len(value) > 3),  # no letter of a word
            *(os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("PASSWORD", "TOKEN")),
        ]
        text = text.replace(self.address, self.shown)
        for secret in filter(None, known):
            for spelling in (secret, unquote(secret), quote(secret, safe="")):
                text = text.replace(spelling, "***")
        return text

    @cached_property
    def client(self) -> Any:
        """MLflow's, which is imported now."""
        # a dead server shall cost seconds, not the default of minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # what MLflow and alembic have to say of themselves is nobody's concern here, and neither is what they warn of
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        warnings.filterwarnings("ignore", module=r"(mlflow|alembic|sqlalchemy)\.")
        for chatty in ("alembic", "mlflow"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        import mlflow

        self._follow_the_folder()
        if self.is_own:
            _commit_sooner()
        mlflow.set_tracking_uri(self.address)  # log_table looks here for its artifacts
        return mlflow.MlflowClient(self.address)


if __name__ == "__main__":  # `make ui` reads what runs are written to
    from replication.harness.home import state as state_folder

    state_folder().mkdir(parents=True, exist_ok=True)
    print(Tracking(state_folder()).address)
