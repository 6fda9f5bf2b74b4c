"""`replicate check` and `replicate new`: the contract tests of a part, and a template to begin one from."""

import argparse
import importlib
import sys
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

from replication.commands.options import Commands, added, settings_of
from replication.types import InputError, RunError

KINDS = {"sampler": "samplers", "spacing": "spacings", "schedule": "schedules", "objective": "objectives",
         "model": "networks", "dataset": "datasets", "extractor": "extractors"}  # fmt: skip


def register(commands: Commands) -> None:
    parser = added(commands, "check", _check, "run the contract tests of a part, installed or not")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("name", help="a registered name, package.module:name, or path/to/file.py:name")
    parser.add_argument("--set", action="append", default=[], metavar="option=value", help="an option of the part")


def _check(options: argparse.Namespace) -> None:
    from replication.registry import REGISTRIES

    name, parts = _importable(options.name), REGISTRIES[f"{options.kind}s"]
    settings = {key: _value(text) for key, text in settings_of(options.set).items()}
    build = partial(parts.build, name, **settings)
    checks = importlib.import_module(f"replication.check.{KINDS[options.kind]}")
    failed = 0
    for finding in checks.findings(build if options.kind == "model" else build()):
        failed += not finding.ok
        print(
            f"{'ok  ' if finding.ok else 'FAIL'} {finding.name}: {finding.measured} (needed: {finding.needed})",
            flush=True,
        )
    if failed:
        raise RunError(f"{options.kind} {options.name}: {failed} of its checks failed")


def _importable(name: str) -> str:
    """`path/to/file.py:part` as `file:part`, its folder first on the path; another name as it is."""
    file, colon, part = name.rpartition(":")
    if not colon or not file.endswith(".py"):
        return name
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    sys.path.insert(0, str(path.parent))
    return f"{path.stem}:{part}"


def _value(text: str) -> Any:
    """An option as TOML reads it; what TOML does not read is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
