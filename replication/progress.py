"""Progress bars: lively on a terminal, a line every 15 seconds in a log file."""

import sys
from typing import Any

from tqdm import tqdm


def bar(total: int | None, description: str, unit: str, initial: int = 0, enabled: bool = True) -> Any:
    """A tqdm bar on standard error; use it as a context manager. Without a total it counts."""
    interval = 0.2 if sys.stderr.isatty() else 15.0
    return tqdm(
        total=total, initial=initial, desc=description, unit=unit, disable=not enabled, mininterval=interval,
        maxinterval=max(interval, 10.0), file=sys.stderr, dynamic_ncols=True,
    )  # fmt: skip
