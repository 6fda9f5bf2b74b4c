"""Real tracking servers on loopback, which a test starts, kills and starts again: MLflow's over SQLite or PostgreSQL."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.request import urlopen

STARTING_SECONDS = 300  # a machine with other work; the tests take what they take


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class MlflowServer:
    """`mlflow server` with one worker over `backend`, its files under `folder`; `kill` is a SIGKILL of it and its workers."""

    def __init__(self, backend: str, folder: Path):
        self._folder, self._port = folder, free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self._command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        self._command += ["--workers", "1", "--backend-store-uri", backend]
        self._command += ["--artifacts-destination", str(folder / "artifacts")]

    def start(self) -> None:
        with open(self._folder / "server.log", "ab") as log:
            without = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
            without["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # four more processes, for what is not used here
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, start_new_session=True, cwd=self._folder, env=without
            )
        ends = time.monotonic() + STARTING_SECONDS
        while time.monotonic() < ends and self._process.poll() is None:
            try:
                urlopen(f"{self.address}/health", timeout=5).close()
                return
            except (URLError, OSError):
                time.sleep(0.2)
        self.kill()
        raise RuntimeError(f"mlflow server did not start: {(self._folder / 'server.log').read_text()[-2000:]}")

    def kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def postgres_is_absent() -> str:
    """Why there is no PostgreSQL to test with; empty where there is."""
    if not _program("initdb"):
        return "PostgreSQL is not installed here (Debian package postgresql)"
    return "" if _driver() else "neither psycopg2 nor psycopg, drivers of PostgreSQL, is installed here"


def _driver() -> str | None:
    return next((name for name in ("psycopg2", "psycopg") if find_spec(name)), None)


def _program(name: str) -> str | None:
    """In PATH, or where Debian has the newest version."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    return shutil.which(name) or (str(versions[-1]) if versions else None)


@contextmanager
def postgres() -> Iterator[str]:
    """A cluster of its own in a folder of its own; its address. It refuses to run as root, and then runs as `postgres`."""
    user = "postgres" if os.geteuid() == 0 else getpass.getuser()
    as_user = {"user": user, "group": user} if os.geteuid() == 0 else {}
    with TemporaryDirectory(dir="/tmp", prefix="pg-") as folder:  # the name of its socket is of limited length
        if as_user:
            shutil.chown(folder, user, user)
        data, port = f"{folder}/data", free_port()
        made = [
            _program("initdb"),
            "-D",
            data,
            "-U",
            "mlflow",
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--no-locale",
        ]
        subprocess.run(made, check=True, capture_output=True, cwd=folder, **as_user)  # type: ignore[call-overload]
        command = [_program("postgres"), "-D", data, "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1"]
        with open(f"{folder}/log", "wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **as_user)  # type: ignore[call-overload]
        try:
            asked = [_program("pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
            ends = time.monotonic() + STARTING_SECONDS
            while subprocess.run(asked, capture_output=True, check=False).returncode:
                if server.poll() is not None or time.monotonic() > ends:
                    raise RuntimeError(f"postgres did not start: {Path(folder, 'log').read_text()[-2000:]}")
                time.sleep(0.2)
            yield f"postgresql+{_driver()}://mlflow@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()
