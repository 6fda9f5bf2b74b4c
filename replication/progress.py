"""Progress: a lively bar on a terminal; in a log plain lines, one every 15 seconds, and the last one."""

import sys
import time
from types import TracebackType
from typing import Any, Self

INTERVAL = 15.0  # seconds between two lines of a log
_quiet = False


def be_quiet(quiet: bool) -> None:
    """Whether bars of this process are left out: `--quiet`."""
    global _quiet
    _quiet = quiet


def bar(total: int | None, description: str, unit: str, initial: int = 0, enabled: bool = True) -> Any:
    """A bar on standard error, a context manager with `update(n)` and `set_postfix_str`. Without a total it counts."""
    shown = enabled and not _quiet
    if shown and not sys.stderr.isatty():
        return _Lines(total, description, unit, initial)
    from tqdm import tqdm

    return tqdm(
        total=total, initial=initial, desc=description, unit=unit, unit_scale=unit == "B", disable=not shown,
        mininterval=0.2, file=sys.stderr, dynamic_ncols=True,
    )  # fmt: skip


class _Lines:
    """What a log has of it: where the work is, at most every INTERVAL seconds, and where it ended."""

    def __init__(self, total: int | None, description: str, unit: str, initial: int):
        self.total, self.description, self.unit = total, description, unit
        self.begun = self.done = initial
        self.postfix, self.start = "", time.monotonic()
        self.printed = self.start

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._print(time.monotonic())

    def update(self, n: int = 1) -> None:
        """n more are done."""
        self.done += n
        if (now := time.monotonic()) - self.printed >= INTERVAL:
            self._print(now)

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """What the next line ends in."""
        self.postfix = text

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
