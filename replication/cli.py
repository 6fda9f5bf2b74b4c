"""`replicate`: the command line. Exit codes: 0 done, 1 failed running, 2 the input is wrong, 75 out of time, 130 interrupted,
143 ended by SIGTERM.

The module of a command is imported when the command is run: help, lists and wrong arguments are answered at once.
"""

import atexit
import gc
import io
import os
import select
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from replication.commands.parser import AS_JSON, parser
from replication.deadline import OutOfTime
from replication.interrupt import GO_ON, INTERRUPTED, ended_at_once, ending, interruptible
from replication.memory import out_of_memory
from replication.progress import be_quiet
from replication.terminal import has_colour
from replication.types import InputError, RunError, one_line

SPINS = "10000"
# what they compute is kept, or is what they print
PRINTING = {*AS_JSON, "data.list_datasets", "data.verify", "parts.check"}


def entry() -> NoReturn:
    """`main` as a process of its own. It ends without Python's own clean-up, which takes most of a second and in which threads
    of libraries sometimes abort; exit handlers run, except after Ctrl-C or SIGTERM.

    Threads that wait for each other look for a tenth of a millisecond before they sleep, not for several: on a quiet machine
    that suffices, and beside other work they keep no processor from the one that they wait for.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when torch is imported
    code = main()
    if code not in INTERRUPTED:
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; every expected failure is one message on standard error, never a traceback."""
    _printable()
    try:
        with ended_at_once():
            options = parser().parse_args(arguments)
            if "device" in options and options.work != "plan.plan":
                import torchvision  # noqa: F401  # what does not fit together shows now, not after hours
            if options.work in {*PRINTING, "report.report"}:  # they make no garbage; the search for it takes a fifth
                gc.disable()
            be_quiet(options.quiet)
            do = work(options.work)
        with interruptible():
            do(options)
            sys.stdout.flush()
    except InputError as error:
        return _fail(str(error), 2)
    except OutOfTime as error:
        return _fail(f"{error}; {GO_ON}", 75)
    except RunError as error:
        return _fail(str(error), 1)
    except (ImportError, MemoryError, RuntimeError) as error:
        reason = one_line(error)
        if "torchvision" in reason:  # a build for another torch says "operator torchvision::nms does not exist"
            return _fail(f"torchvision does not fit torch ({reason}): install both in one step, `make setup`", 2)
        if not out_of_memory(error):
            raise
        return _fail(f"out of memory: try --set batch_size=N, or recipe.training.batch_size ({reason})", 1)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():  # `| head` has what it wanted
            return 0 if options.work in PRINTING else 141  # as a shell has it for what SIGPIPE ended
        return _fail(f"{error.filename or 'system'}: {error.strerror or error}; what was finished before is kept", 1)
    except KeyboardInterrupt as error:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # the terminal wrote ^C
        message, code = ending(error)
        return code if _spoken_for() else _fail(message, code)
    finally:
        gc.enable()
    return 0


def _printable() -> None:
    """Standard output takes every text: where a terminal lacks a letter, or a file's name is not UTF-8, it is escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _reader_is_gone() -> bool:
    """Whether it is standard output that nobody reads any more; what is still to be written there goes nowhere then."""
    try:
        out = sys.stdout.fileno()
    except io.UnsupportedOperation:  # a stream of text alone, which has no reader that could go
        return False
    asked = select.poll()  # whatever was flushed or dropped before: the pipe itself knows
    asked.register(out, 0)
    gone = any(events & select.POLLERR for _, events in asked.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out)  # or the flush at exit would fail as well
    return gone


def _spoken_for() -> bool:
    """Whether this is not the first of those that torchrun started, which says for all of them that they were ended."""
    return "MASTER_ADDR" in os.environ and os.environ.get("RANK", "0") != "0"


def work(name: str) -> Any:
    """The function `module.function` of replication/commands."""
    module, _, function = name.partition(".")
    return getattr(import_module(f"replication.commands.{module}"), function)


def _fail(message: str, code: int) -> int:
    name = "\033[31mreplicate\033[0m" if sys.stderr.isatty() and has_colour() else "replicate"
    print(f"{name}: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
