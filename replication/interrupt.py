"""Ctrl-C and SIGTERM: a command ends within two seconds wherever it is, and says how to go on.

Both become a KeyboardInterrupt, which Python raises between two of its instructions. A library may take longer than that
over one call, or make another error of it; then the process ends where it stands. What is kept is whole at any instant, and
locks are released by the system.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

GRACE = 1.0  # seconds
ENDINGS = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("ended by SIGTERM", 143)}  # exit codes of shells
INTERRUPTED = tuple(code for _, code in ENDINGS.values())
GO_ON = "the same command goes on from here"


class Terminated(KeyboardInterrupt):
    """By SIGTERM: a job scheduler's, a container's, or `kill`."""


def ending(error: KeyboardInterrupt) -> tuple[str, int]:
    """What has happened, in a sentence, and the exit code."""
    what, code = ENDINGS[signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT]
    return f"{what}; {GO_ON}", code


@contextmanager
def ended_at_once() -> Iterator[None]:
    """While modules are imported the process ends without more ado: libraries make other errors of an interrupt in between."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in ENDINGS if main}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, lambda number, _: _leave(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int) -> None:
    what, code = ENDINGS[signal.Signals(number)]
    os.write(2, f"replicate: {what}; {GO_ON}\n".encode())
    os._exit(code)


@contextmanager
def interruptible() -> Iterator[None]:
    """What is done in the body ends so; in another thread than the main one, which gets no signals, nothing is changed."""
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    over = threading.Event()
    threading.Thread(target=_watch, args=(reading, over), daemon=True).start()
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)  # written to at once, whatever Python is doing
    if before != signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        over.set()
        signal.signal(signal.SIGTERM, before)
        signal.set_wakeup_fd(woken)
        os.close(writing)


def _terminate(*_: object) -> None:
    raise Terminated


def _watch(reading: int, over: threading.Event) -> None:
    """End the process where the body is not over GRACE seconds after a signal."""
    with open(reading, "rb", buffering=0) as pipe:
        while number := pipe.read(1):
            if number[0] in ENDINGS and not over.wait(GRACE):
                _leave(number[0])
