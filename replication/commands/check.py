"""`replicate check` and `replicate new`: the contract tests of a part, and a template to begin one from."""

import argparse
import importlib
import re
import sys
from functools import partial
from importlib.resources import files
from pathlib import Path

from replication.commands.options import Commands, added, options_of_part
from replication.types import InputError, RunError

KINDS = {"sampler": "samplers", "spacing": "spacings", "schedule": "schedules", "objective": "objectives",
         "model": "networks", "metric": "metrics", "dataset": "datasets", "extractor": "extractors"}  # fmt: skip


def register(commands: Commands) -> None:
    parser = added(commands, "check", _check, "run the contract tests of a part, installed or not")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("name", help="a registered name, package.module:name, or path/to/file.py:name")
    parser.add_argument("--set", action="append", default=[], metavar="option=value", help="an option of the part")
    parser = added(commands, "new", _new, "write a commented template of a part, which works as it is")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("name", help="as a TOML will say it, e.g. my-sampler")
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where to write it (here)")


def _check(options: argparse.Namespace) -> None:
    from replication.registry import REGISTRIES

    name, parts = _importable(options.name), REGISTRIES[f"{options.kind}s"]
    build = partial(parts.build, name, **options_of_part(options.set))
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


def _new(options: argparse.Namespace) -> None:
    words = re.findall(r"[a-z0-9]+", options.name.lower())
    if not words or words[0][0].isdigit():
        raise InputError(f"name {options.name!r}: a part's name begins with a letter, e.g. my-{options.kind}")
    path = options.out / f"{'_'.join(words)}.py"
    if path.exists():
        raise InputError(f"{path}: there is such a file already")
    named = {"part-name": options.name, "PartName": "".join(map(str.capitalize, words)), "FILE": path.stem}
    text = (files("replication.check") / "templates" / f"{options.kind}.py.txt").read_text(encoding="utf-8")
    for place, word in named.items():
        text = text.replace(place, word)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path}\nreplicate check {options.kind} {path}:{named['PartName']}")


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
