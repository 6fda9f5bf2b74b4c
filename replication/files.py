"""Files that are whole or not there, and locks that die with their holder: a kill leaves nothing to clean up."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from replication.types import RunError


def printable(text: str | Path) -> str:
    """The text with the bytes of a file's name that are not UTF-8 written as \\xe9, for tables and messages."""
    return str(text).encode(errors="surrogateescape").decode(errors="backslashreplace")


def unwritable(path: Path, error: OSError) -> RunError:
    """The error for a place that can't be written, whatever the reason: rights, a full disk, a file in the way."""
    reason = error.strerror or str(error)
    return RunError(
        f"cannot write {path} ({reason}); what was finished before is kept. REPLICATION_HOME may name another folder "
        "for runs, REPLICATION_DATA for datasets"
    )


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A file beside the target to write to; at the end it is flushed and renamed: `path` is as it was, or whole.

    Raises RunError for an OSError of the body too.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{path.name}.*.partial"):
            if not Path("/proc", left.name.split(".")[-2]).exists():  # its writer was killed
                left.unlink(missing_ok=True)
        try:
            yield partial
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def file_sha256(path: Path) -> str:
    """SHA-256 of the file's content, hexadecimal; raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the target, flush to disk, rename: `path` is as it was, or whole. Raises RunError."""
    with replaced(path) as partial:
        partial.write_bytes(data)


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file; if another process does, print that and wait. Raises RunError if it can't be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process works on {what}; waiting for it", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
