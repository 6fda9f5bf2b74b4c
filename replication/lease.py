"""Leases: what stands in for locks on a file system that has none. They are files whose holder touches them while it lives.

A lease NAME is the file NAME.n of the highest n, which says who holds it, or that it was given back. Who finds it free makes
NAME.n+1, which succeeds for one alone. It is free as well when its process is gone from this machine, and, whatever machine it
is of, when nobody has touched it for EXPIRES seconds on the clock of the process that watches: clocks of machines may differ.
"""

import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BEAT = 10.0  # seconds between two touches
EXPIRES = 90.0  # a file server may show other machines what is 60 s old
FREE = "free"
# of files that others hold: the last touch, and when this process first saw it
_seen: dict[Path, tuple[int, float]] = {}


@contextmanager
def leased(path: Path) -> Iterator[bool]:
    """Hold the lease while the body works; False where another process holds it. Raises OSError where it can't be written."""
    mine = _take(path)
    if mine is None:
        yield False
        return
    over = threading.Event()
    threading.Thread(target=_beat, args=(mine, over), daemon=True).start()
    try:
        yield True
    finally:
        over.set()
        mine.write_text(FREE, encoding="utf-8")


def _take(path: Path) -> Path | None:
    """The file of the lease that is this process's now; None if it is another's."""
    found = _numbered(path)
    last = max(found, default=0)
    if found and not _free(found[last]):
        return None
    mine = path.with_name(f"{path.name}.{last + 1}")
    try:
        with open(mine, "x", encoding="utf-8") as file:
            file.write(f"{platform.node()} {os.getpid()}")
    except FileExistsError:
        return None
    if max(_numbered(path), default=0) > last + 1:  # what was found had been long out of date
        mine.unlink(missing_ok=True)
        return None
    for earlier in found.values():
        earlier.unlink(missing_ok=True)
    return mine


def _numbered(path: Path) -> dict[int, Path]:
    files = {file.suffix.removeprefix("."): file for file in path.parent.glob(f"{path.name}.*")}
    return {int(number): file for number, file in files.items() if number.isdecimal()}


def _free(file: Path) -> bool:
    try:
        holder, touched = file.read_text(encoding="utf-8"), file.stat().st_mtime_ns
    except FileNotFoundError:
        return False  # another process took the next one meanwhile
    machine, _, process = holder.partition(" ")
    if holder == FREE or (machine == platform.node() and not Path("/proc", process).exists()):
        return True
    before, since = _seen.get(file, (None, 0.0))
    if before != touched:
        since = time.monotonic()
        _seen[file] = touched, since
    return time.monotonic() - since > EXPIRES


def _beat(mine: Path, over: threading.Event) -> None:
    while not over.wait(BEAT):
        try:
            os.utime(mine)
        except OSError:  # taken over after a long sleep, or the server is away: what is written is whole in any case
            continue
