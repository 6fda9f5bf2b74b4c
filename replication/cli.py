"""`replicate`: the command line. Exit codes: 0 done, 1 failed while running, 2 the input is wrong."""

import argparse
import sys
from collections.abc import Sequence

from replication.commands import check, data, forensics, machine, report, run, sample, weights
from replication.types import InputError, RunError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; every expected failure is one message on standard error, never a traceback."""
    options = _parser().parse_args(arguments)
    try:
        if "device" in options:  # it computes: what does not fit together shows now, not after hours
            import torchvision  # noqa: F401
        options.command(options)
    except InputError as error:
        return _fail(str(error), 2)
    except RunError as error:
        return _fail(str(error), 1)
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        if "torchvision" in reason:  # a build for another torch says "operator torchvision::nms does not exist"
            return _fail(f"torchvision does not fit torch ({reason}): install both in one step, `make setup`", 2)
        if type(error).__name__ != "OutOfMemoryError" and "allocate memory" not in reason:  # torch's, not imported here
            raise
        return _fail(f"out of memory: try --set batch_size=N, or recipe.training.batch_size ({reason})", 1)
    except OSError as error:
        return _fail(f"{error.filename or 'system'}: {error.strerror or error}; what was finished before is kept", 1)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on from here", 1)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"replicate: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="replicate", description="Replicate diffusion papers, cell by cell.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (run, report, sample, forensics, machine, weights, data, check):
        group.register(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
