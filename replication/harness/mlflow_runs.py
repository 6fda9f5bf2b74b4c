"""What MLflow is given: for a row, a training and a table, the run that shows them, in values that every backend takes.

Each run has tags to search by: kind (sweep, cell, first stage or training), profile, label, dataset, network, sampler,
spacing, steps, device, and the columns env.* and measured.* of its row.
"""

import math
import posixpath
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from replication.harness.journal import MEASURED, PROVENANCE, Curve, Record, plain
from replication.settings import content_key

LONGEST_NAME = 250
LONGEST_VALUE = 500  # of a parameter or a tag: what old servers take, and a page shows
DIGEST = 36  # characters, at most, of a dataset's
SEARCHED = {  # tag -> the column of a cell's row, and that of a first stage's
    "label": ("label",),
    "dataset": ("recipe.dataset", "first_stage.dataset"),
    "network": ("recipe.network", "first_stage.autoencoder"),
    "sampler": ("sampling.sampler",),
    "spacing": ("sampling.spacing",),
    "steps": ("sampling.steps",),
    "device": ("env.device",),
    "mlflow.source.git.commit": ("env.commit",),
}
SYSTEM = "system/"  # how metrics begin that MLflow shows as those of the machine
OF_MACHINE = {  # column of a curve -> MLflow's name for it
    "cpu_percent": f"{SYSTEM}cpu_utilization_percentage",
    "memory_megabytes": f"{SYSTEM}system_memory_usage_megabytes",
    "device_percent": f"{SYSTEM}gpu_0_utilization_percentage",
    "device_memory_megabytes": f"{SYSTEM}gpu_0_memory_usage_megabytes",
}
Value = TypeVar("Value")


class Dataset(NamedTuple):
    """One that a run was given, by name and digest; `context`: what for."""

    name: str
    digest: str | None
    context: str


class Run(NamedTuple):
    """One run below that of its sweep, found again by `row`, the hash of what it shows. Metrics by step."""

    title: str
    row: str
    tags: Mapping[str, str]
    params: Mapping[str, str] = {}
    points: Sequence[tuple[int, Mapping[str, float]]] = ()
    datasets: Sequence[Dataset] = ()
    files: Sequence[tuple[Path, str]] = ()  # each with its folder


def steps_of(record: Record) -> str:
    """ " x 50" for a row of samples; a first stage takes no steps."""
    return f" x {record['sampling.steps']}" if "sampling.steps" in record else ""


def run_of_row(record: Record, files: Sequence[tuple[Path, str]], tags: Mapping[str, str]) -> Run:
    """A row: what was measured as metrics, where and by what as tags, everything else as parameters."""
    found = {tag: next((record[c] for c in columns if c in record), None) for tag, columns in SEARCHED.items()}
    of_parts = {tag: str(value).partition("(")[0] for tag, value in found.items() if value is not None}
    return Run(
        f"{record['label']}{steps_of(record)} ({record['profile']})",
        content_key(plain(record)),
        {
            "kind": "first stage" if "first_stage.key" in record else "cell",
            "cell": record["cell"],
            **(of_parts | {"label": record["label"]}),
            **{k: str(v) for k, v in record.items() if k.startswith(PROVENANCE)},
            **tags,
        },
        {k: str(v) for k, v in record.items() if not k.startswith((*MEASURED, *PROVENANCE))},
        [(0, {k: float(v) for k, v in record.items() if k.startswith(MEASURED) and v is not None})],
        list(_datasets(record)),
        files,
    )


def _datasets(record: Record) -> list[Dataset]:
    """The training images, and what the metrics compare with."""
    name, reference = record.get("recipe.dataset", record.get("first_stage.dataset")), record.get("protocol.reference")
    digest = record.get("recipe.fingerprint", record.get("first_stage.fingerprint"))
    trained = [Dataset(str(name), digest, "training")] if name and digest else []
    return [*trained, *([Dataset(str(reference), None, "reference")] if reference else [])]


def run_of_curve(curve: Curve) -> Run:
    """A training as far as it went, its setting as parameters, its figures and the machine's by step."""
    columns = {OF_MACHINE.get(k, k): v for k, v in curve.items() if isinstance(v, list) and k != "step"}
    identity = curve.get("identity", {})
    return Run(
        f"training of {curve['title']} ({curve['profile']})",
        content_key(plain(curve)),
        {"kind": "training", "training": curve["training"], "label": str(curve["title"])}
        | ({"dataset": str(curve["dataset"]).partition("(")[0]} if "dataset" in curve else {}),
        _flat(identity),
        [
            (int(step), {name: values[i] for name, values in columns.items() if math.isfinite(values[i])})
            for i, step in enumerate(curve["step"])
        ],
        [Dataset(str(curve["dataset"]), identity.get("dataset"), "training")] if "dataset" in curve else [],
    )


def _flat(content: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Tables within tables as names with dots."""
    found: dict[str, str] = {}
    for name, value in content.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": str(value)}
    return found


def table_of(records: Sequence[Record]) -> dict[str, Any]:
    """The rows as MLflow's pages and `mlflow.load_table` read a table: columns, and a list for each row."""
    columns = list(dict.fromkeys(chain.from_iterable(records)))
    return {"columns": columns, "data": [[*map(record.get, columns)] for record in records]}


def legal(values: Mapping[str, Value]) -> dict[str, Value]:
    """The same under names that every backend takes: ASCII letters, digits and _ - . /, and no two alike but for their case.

    A name that has to be changed ends in a piece of its hash, so that two remain two.
    """
    found: dict[str, Value] = {}
    taken: set[str] = set()
    for name, value in values.items():
        shown = re.sub(r"[^\w./-]", "_", name, flags=re.ASCII)
        if posixpath.normpath(shown) != shown or shown.startswith(("/", "..")):  # some keep a file of that name
            shown = shown.replace("/", "_").strip(".") or "_"
        if shown != name or len(name) > LONGEST_NAME or name.casefold() in taken:
            shown = f"{shown[: LONGEST_NAME - 9]}-{_hash(name)[:8]}"
        found[shown] = value
        taken.add(shown.casefold())
    return found


def shortened(values: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Values that every backend takes, and by name the whole text of each that is too long and stands there as its hash."""
    texts = {name: _storable(value) for name, value in values.items()}
    whole = {name: text for name, text in texts.items() if len(text.encode()) > LONGEST_VALUE}
    return {**texts, **{name: f"sha256:{_hash(text)}" for name, text in whole.items()}}, whole


def _storable(text: str) -> str:
    """Without what PostgreSQL and UTF-8 have no place for: NUL, and halves of characters."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
