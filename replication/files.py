"""Files that are whole or not there, and locks that die with their holder: a kill leaves nothing to clean up."""

import errno
import fcntl
import hashlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path

from replication.lease import leased
from replication.types import InputError, RunError

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # what flock says on such a file system
PAUSE, SAID_AFTER = 0.1, 10  # seconds between two looks at a lock; looks after which a wait is worth a word
BEGINNINGS = {  # of files that are taken for others
    b"version https://git-lfs": "a pointer of Git LFS in the place of the file, which `git lfs pull` fetches",
    b"<!": "a page of HTML, perhaps in the place of a download",
    b"<html": "a page of HTML, perhaps in the place of a download",
    b"PK\3\4": "a ZIP archive",
    b"\x93NUMPY": "an array of numpy",
    **dict.fromkeys((b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"), "a pickle"),
    b"\x89PNG": "PNG",
    b"\xff\xd8": "JPEG",
    b"RIFF": "WebP",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}


class Unwritable(RunError):
    """A place can't be written, whatever the reason: rights, a full disk, a file in the way. Nothing more can be kept."""


class Damaged(RunError):
    """A file turned out to be damaged when it was used, and is set aside: it is computed when it is asked for again."""


class Held(RunError):
    """Another process holds a lock that was not to be waited for."""


def expanded(path: str | Path, named: str) -> Path:
    """The path with ~ written out; `named` is what the message calls its origin, a variable or an option.

    Raises InputError where nobody knows whose home that is: a container's user may have none.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{named}: nobody knows the home folder of {path} here; set {named} or HOME") from error


def printable(text: str | Path) -> str:
    """The text with the bytes of a file's name that are not UTF-8 written as \\xe9, for tables and messages."""
    return str(text).encode(errors="surrogateescape").decode(errors="backslashreplace")


def kind_of(beginning: bytes) -> str:
    """What a file that can't be read is after all, by its first bytes; empty where they do not tell."""
    return next((kind for first, kind in BEGINNINGS.items() if beginning.startswith(first)), "")


def unwritable(path: Path, error: OSError) -> Unwritable:
    """The error for a place that can't be written."""
    reason = error.strerror or str(error)
    return Unwritable(
        f"cannot write {path} ({reason}); what was finished before is kept. REPLICATION_HOME may name another folder "
        "for runs, REPLICATION_DATA for datasets"
    )


def require_space(folder: Path, needed: int) -> None:
    """Raises Unwritable where so many bytes more have no room in the folder, which need not be there: now, not hours later."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if needed > (free := shutil.disk_usage(there).free):
        full = f"{needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free"
        raise unwritable(folder, OSError(errno.ENOSPC, full))


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A file beside the target to write to; at the end it is flushed and renamed: `path` is as it was, or whole.

    Raises Unwritable for an OSError of the body too.
    """
    try:
        partial = _partial(path.parent, f".{path.name}")
        try:
            yield partial
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def all_or_nothing(folder: Path) -> Iterator[Path]:
    """The folder's files, to write to with the functions here; at the end, what was written replaces the original.

    If the body raises, the folder stays as it was. They are hard links, which the functions here replace and never write
    into, or copies where a file system has no links. Raises Unwritable where the folder can't be written.
    """
    try:
        copy = _partial(folder)
        copy.mkdir()
        files = [file for file in folder.iterdir() if file.is_file()]
        before = {file.name: _linked(file, copy / file.name).stat().st_ino for file in files}
        try:
            yield copy
            now = {file.name: file.stat().st_ino for file in copy.iterdir()}
            for name in now:
                if now[name] != before.get(name):
                    os.replace(copy / name, folder / name)
            for name in before.keys() - now:
                (folder / name).unlink(missing_ok=True)
        finally:
            shutil.rmtree(copy, ignore_errors=True)
    except OSError as error:
        raise unwritable(folder, error) from error


def _partial(folder: Path, beginning: str = "") -> Path:
    """BEGINNING.MACHINE.PROCESS.partial in the folder, which is made; what killed processes left under such names is removed.

    Raises OSError where that can't be done.
    """
    # a folder may be shared by machines, and what another one writes is alive
    beginning += f".{platform.node().replace('.', '-')}"
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{beginning}.*.partial"):
        writer = left.name.split(".")[-2]
        if not writer.isdecimal() or Path("/proc", writer).exists():
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
    return folder / f"{beginning}.{os.getpid()}.partial"


def _linked(file: Path, other: Path) -> Path:
    try:
        os.link(file, other)
    except OSError:
        shutil.copy2(file, other)
    return other


def file_sha256(path: Path) -> str:
    """SHA-256 of the file's content, hexadecimal; raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_sha256(path: Path) -> str:
    """The same, read again only when the file has changed."""
    stat = path.stat()
    return _sha256_of(path, stat.st_size, stat.st_mtime_ns)


@cache
def _sha256_of(path: Path, size: int, modified: int) -> str:
    return file_sha256(path)


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the target, flush to disk, rename: `path` is as it was, or whole. Raises Unwritable."""
    with replaced(path) as partial:
        partial.write_bytes(data)


def set_aside(path: Path, reason: str) -> None:
    """Rename a damaged file, and say so: what it held is computed anew. Raises Unwritable where that can't be done."""
    aside = path.with_name(f"{path.name}.damaged")
    try:
        os.replace(path, aside)
    except FileNotFoundError:
        return  # another process was first
    except OSError as error:
        raise unwritable(path, error) from error
    print(f"{path}: damaged ({reason}); kept as {aside.name}, and what it held is computed anew", file=sys.stderr)


@contextmanager
def locked(path: Path, what: str, wait: bool = True) -> Iterator[None]:
    """Hold the lock file. If another process does, wait, and print that where it takes long; or raise Held where it is not to
    be waited for.

    The system releases it when its holder ends, however that ends. On a file system without locks a lease stands in
    (replication/lease.py). Raises Unwritable if the file can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise unwritable(path, error) from error
    looks = 0
    try:
        while True:
            with _taken(descriptor, path) as ours:
                if ours:
                    yield
                    return
            if not wait:
                raise Held(f"another process works on {what}")
            if looks == SAID_AFTER:
                print(f"another process works on {what}; waiting for it", flush=True)
            looks += 1
            time.sleep(PAUSE)
    finally:
        os.close(descriptor)


@contextmanager
def _taken(descriptor: int, path: Path) -> Iterator[bool]:
    """Whether this process has the lock, or the lease in its place, now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        taken: AbstractContextManager[bool] = nullcontext(True)
    except BlockingIOError:
        taken = nullcontext(False)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise unwritable(path, error) from error
        _warn_of(path.parent)
        taken = leased(path.with_name(f"{path.name}.held"))
    with taken as ours:
        yield ours


@cache
def _warn_of(folder: Path) -> None:
    print(
        f"{folder}: this file system has no locks (leases stand in); it is safer to set REPLICATION_HOME, or "
        "REPLICATION_DATA for datasets, to a folder on a local disk",
        file=sys.stderr,
    )
