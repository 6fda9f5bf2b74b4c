"""A time by which work ends: what would not end by then is not begun, and what is under way is kept, to go on from there."""

import math
import time
from dataclasses import dataclass

from replication.types import RunError


class OutOfTime(RunError):
    """The time is over before the work is; the same command goes on from there. The command line exits with 75."""


@dataclass(frozen=True)
class Deadline:
    """`at`: seconds of time.monotonic(); by default never."""

    at: float = math.inf

    @classmethod
    def within(cls, seconds: float | None) -> "Deadline":
        """So many seconds from now; None: never."""
        return cls() if seconds is None else cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds, below 0 once it is over."""
        return self.at - time.monotonic()

    def require(self, seconds: float, what: str) -> None:
        """Raises OutOfTime unless so many seconds are left."""
        if seconds > self.left():
            raise OutOfTime(f"{what}: it takes about {seconds:,.0f} s, and {max(self.left(), 0):,.0f} s are left")


NEVER = Deadline()
