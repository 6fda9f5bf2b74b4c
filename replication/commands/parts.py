"""`replicate list`, `check` and `new`: the parts that exist, the contract tests of one, and a template to begin one from."""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from importlib.resources import files
from typing import Any

from replication.files import expanded
from replication.harness.experiment_file import read_toml, toml_value
from replication.harness.forensics.sources import ASKED, SOURCES
from replication.harness.home import catalogue, experiments
from replication.registry import REGISTRIES, unknown
from replication.types import InputError, RunError

KINDS = {
    "experiments": "What can be run: a table of a paper with its cells and claims, in several sizes.",
    "schedules": "The noise of a training: alpha and sigma at every time.",
    "spacings": "Which times a sampler visits.",
    "samplers": "How an image goes from one time to the next.",
    "objectives": "What a training minimises.",
    "models": "Networks of the papers, by the names of their sizes.",
    "autoencoders": "First stages: from images to latents and back.",
    "perceptual": "Perceptual distances in the loss of a first stage.",
    "discriminators": "Discriminators in the loss of a first stage.",
    "classifiers": "Classifiers of noisy images, by whose gradients samples are guided.",
    "datasets": "Images with a fingerprint, to train on and to compare with.",
    "conditions": "What images are drawn by: a class, a caption.",
    "extractors": "Networks whose features distances are taken of.",
    "metrics": "Figures of a row, each with its source.",
    "quantities": "Figures that follow from theory, for claims without rows.",
    "claims": "Kinds of claims, by which the words of a paper are judged, and the claims of each experiment.",
    "jobs": "What makes a row of a table.",
    "protocols": "What fixes a metric besides the model: n, seeds, reference, extractor, with the source.",
    "choices": "What `replicate forensics` changes, one at a time, with who asked for it.",
    "published": "Tables that papers print, beside which rows are set.",
}
CHECKS = {
    **dict.fromkeys(("sampler", "spacing", "schedule", "objective"), "diffusion"),
    **dict.fromkeys(("dataset", "extractor", "metric"), "measuring"),
    "model": "models",
}


def list_parts(options: argparse.Namespace) -> None:
    if options.kind is None:
        explained = KINDS
    elif options.kind == "experiments":
        explained = {name: _titled(read_toml(path)) for name, path in experiments().items()}
    elif options.kind == "protocols":
        explained = {name: str(read_toml(path).get("source", "")) for name, path in catalogue("protocols").items()}
    elif options.kind == "published":
        explained = {name: _printed(read_toml(path)) for name, path in catalogue("published").items()}
    elif options.kind == "choices":
        explained = SOURCES | {name: f"asked, and not moved here: {seen}" for name, seen in ASKED.items()}
    elif parts := REGISTRIES.get(options.kind) or REGISTRIES.get(f"{options.kind}s"):
        explained = {name: parts.summary(name) for name in parts.names()}
        if parts is REGISTRIES["claims"]:
            explained |= dict(_claims())
        print("".join(f"replicate: {reason}\n" for reason in parts.unreadable), end="", file=sys.stderr)
    else:
        raise unknown("kind", options.kind, list(KINDS))
    if options.json:
        print(json.dumps(explained, indent=1))
    else:
        width = max(24, *map(len, explained))
        print("\n".join(f"{name:{width}} {sentence}" for name, sentence in explained.items()))


def _claims() -> Iterator[tuple[str, str]]:
    """(experiment and name, statement) of every claim."""
    for experiment, path in experiments().items():
        for claim in read_toml(path).get("claim", []):
            yield f"{experiment}: {claim.get('name', '')}", str(claim.get("statement", ""))


def _titled(table: Mapping[str, Any]) -> str:
    """What an experiment is, in one line."""
    profiles = ", ".join(table.get("profiles", {})) or "claims alone"
    return f"{table.get('title', '')} ({profiles})"


def _printed(table: Mapping[str, Any]) -> str:
    """What a published table is, in one line; an experiment's row names it, or none does yet."""
    rows = len({row["row"] for row in table["rows"]})
    return f"{table['paper']}, {table['table']} [{table['source']}]: {rows} row{'s' * (rows > 1)}"


def check(options: argparse.Namespace) -> None:
    name, parts = _importable(options.name), REGISTRIES[f"{options.kind}s"]
    build = partial(parts.build, name, **{option: toml_value(option, value) for option, value in options.set})
    checked = getattr(import_module(f"replication.check.{CHECKS[options.kind]}"), f"check_{options.kind}")
    failed = 0
    for finding in checked(build if options.kind == "model" else build()):
        failed += not finding.ok
        mark = "ok  " if finding.ok else "FAIL"
        print(f"{mark} {finding.name}: {finding.measured} (needed: {finding.needed})", flush=True)
    if failed:
        raise RunError(f"{options.kind} {options.name}: {failed} of its checks failed")


def _importable(name: str) -> str:
    """`path/to/file.py:part` as `file:part`, its folder first on the path; another name as it is."""
    file, colon, part = name.rpartition(":")
    if not colon or not file.endswith(".py"):
        return name
    path = expanded(file, "HOME").resolve()
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    sys.path.insert(0, str(path.parent))
    return f"{path.stem}:{part}"


def new(options: argparse.Namespace) -> None:
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
