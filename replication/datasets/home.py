"""Where downloaded data lives, and how a file gets there whole or not at all."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from replication.types import InputError


def data_home() -> Path:
    """`$REPLICATION_DATA`, or else `replication` in the user's cache folder. It is not created here."""
    if chosen := os.environ.get("REPLICATION_DATA"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "replication"


def unwritable(path: Path, error: OSError) -> InputError:
    """The error for a place that cannot be written, whatever the reason."""
    reason = error.strerror or str(error)
    return InputError(f"cannot write {path} ({reason}); REPLICATION_DATA may name another folder for data")


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Make the folder and hold it for this process: a second one waits, then finds what the first one left.

    Raises InputError where the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115 (closed by the `with` below, whose errors are not ours)
    except OSError as error:
        raise unwritable(folder, error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` at `path` atomically; where that fails, `path` is as it was and InputError says why."""
    unfinished = path.with_name(path.name + ".tmp")
    try:
        with open(unfinished, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        unfinished.unlink(missing_ok=True)
