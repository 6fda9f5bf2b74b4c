"""Progress: a lively bar on a terminal; in a log plain lines, one every 15 seconds, and the last one.

A sweep has one line of its own, and a file that says where it is: `replicate status` reads it from another terminal.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

INTERVAL = 15.0  # seconds between two lines of a log
NOTED = 1.0  # seconds between two notes for other terminals
RUNNING = "running"  # the folder of the files, below the state folder
_quiet = False
_sweep: "Sweep | None" = None  # of this process, while one runs


def be_quiet(quiet: bool) -> None:
    """Whether bars of this process are left out: `--quiet`."""
    global _quiet
    _quiet = quiet


class Bar:
    """Where one piece of work is, a context manager: a lively line on a terminal, in a log a line every INTERVAL seconds and
    the last one; nothing where it is not `enabled` or bars are left out. It is noted in the sweep that it belongs to.
    """

    def __init__(self, total: int | None, description: str, unit: str, initial: int = 0, enabled: bool = True):
        self.total, self.description, self.unit = total, description, unit
        self.begun = self.done = initial
        self.postfix, self.start = "", time.monotonic()
        self.printed = self.start
        self._logs, self._terminal = enabled and not _quiet, None
        if self._logs and sys.stderr.isatty():
            from tqdm import tqdm

            self._logs, self._terminal = False, tqdm(
                total=total, initial=initial, desc=description, unit=unit, unit_scale=unit == "B", mininterval=0.2,
                file=sys.stderr, dynamic_ncols=True, leave=_sweep is None,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal is not None:
            self._terminal.close()
        elif self._logs:
            self._print(time.monotonic())

    def update(self, n: int = 1) -> None:
        """n more are done."""
        self.done += n
        if self._terminal is not None:
            self._terminal.update(n)
        elif self._logs and (now := time.monotonic()) - self.printed >= INTERVAL:
            self._print(now)
        if _sweep is not None:
            of = "" if self.total is None else f" of {self.total:,}"
            _sweep.note(f"{self.description}: {self.done:,}{of} {self.unit}s")

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """What the line, or the next one of a log, ends in."""
        self.postfix = text
        if self._terminal is not None:
            self._terminal.set_postfix_str(text, refresh=refresh)

    def _print(self, now: float) -> None:
        self.printed, seconds = now, now - self.start
        of = "" if self.total is None else f"/{self.total}"
        pace, left = (self.done - self.begun) / max(seconds, 1e-9), ""
        if self.total is not None and pace > 0 and self.done < self.total:
            left = f", about {(self.total - self.done) / pace:.0f} s left"
        end = f", {self.postfix}" if self.postfix else ""
        print(
            f"{self.description}: {self.done}{of} {self.unit}, {seconds:.0f} s{left}{end}", file=sys.stderr, flush=True
        )


class Sweep:
    """The rows of a sweep: one line on standard error with what is left, and a file in `state` for other terminals.

    expected: by the name of each row, the seconds that it was thought to take. What rows really took corrects what is left;
    a row of average length that took what was expected counts beside them, since with several processes a row may wait for,
    or do, a training that another row was expected to do.
    """

    def __init__(self, name: str, expected: Mapping[str, float], state: Path):
        self.name, self.left, self.rows = name, dict(expected), len(expected)
        self.file = state / RUNNING / f"{platform.node()}-{os.getpid()}.json"
        self.begun = self.noted = time.time()
        self._took = self._expected = sum(expected.values()) / max(len(expected), 1)
        self.now = ""
        self.together = 1  # rows that are computed at a time

    def __enter__(self) -> Self:
        global _sweep
        _sweep = self
        return self

    def __exit__(self, *_: object) -> None:
        global _sweep
        _sweep = None
        with suppress(OSError):
            self.file.unlink(missing_ok=True)

    @contextmanager
    def row(self, key: str, title: str) -> Iterator[None]:
        """While it is computed."""
        started, self.now = time.monotonic(), title
        self.note("begins", at_once=True)
        yield
        self._took += (took := time.monotonic() - started)
        self._expected += self.left.get(key, 0.0)
        self.passed(key)
        if self.rows > 1 and not _quiet:
            ahead = f", about {duration(self.seconds_left)} left" if self.left else ""
            text = f"{self.name}: {self.rows - len(self.left)} of {self.rows} rows, {title} in {duration(took)}{ahead}"
            print(text, file=sys.stderr, flush=True)

    def passed(self, key: str) -> None:
        """The row is not ahead any more: there, failed or put off, by this process or another one."""
        self.left.pop(key, None)

    @property
    def seconds_left(self) -> float:
        """Of all rows that are not done, the one under way whole, at the pace so far."""
        pace = self._took / self._expected if self._expected > 0 else 1.0
        return sum(self.left.values()) * pace / self.together

    def note(self, what: str, at_once: bool = False) -> None:
        """Write where it is, every second at most. A file that cannot be written is no reason to stop."""
        now = time.time()
        if not at_once and now - self.noted < NOTED:
            return
        self.noted = now
        found = {
            "host": platform.node(), "process": os.getpid(), "sweep": self.name, "rows": self.rows,
            "done": self.rows - len(self.left), "row": self.now, "progress": what, "begun": self.begun, "seen": now,
            "seconds_left": self.seconds_left,
        }  # fmt: skip
        with suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part = self.file.with_suffix(".part")
            part.write_text(json.dumps(found), encoding="utf-8")
            part.replace(self.file)


def running(state: Path) -> list[dict[str, Any]]:
    """The last note of each sweep on this state folder, without those of processes that have died on this machine."""
    found = []
    for path in sorted((state / RUNNING).glob("*.json")):
        with suppress(OSError, ValueError):  # it ends just now
            note = json.loads(path.read_text(encoding="utf-8"))
            if note["host"] != platform.node() or Path("/proc", str(note["process"])).exists():
                found.append(note)
    return found


def duration(seconds: float) -> str:
    """ "12 s", "4 min", "2.5 h": as exact as an estimate is."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
