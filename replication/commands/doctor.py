"""`replicate doctor`: what this machine has, and what is missing before anything is started."""

import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from replication.harness.home import state
from replication.harness.provenance import LIBRARIES, device_name
from replication.harness.store import Store
from replication.registry import DATASETS, EXTRACTORS, REGISTRIES
from replication.types import InputError


def examine(device: torch.device, store: Store) -> tuple[list[tuple[str, str]], list[str]]:
    """(lines of what was found, troubles that would stop a run of profile cpu)."""
    trouble = []
    lines = [(name, _version(name)) for name in (*LIBRARIES, "mlflow", "diffusers")]
    lines.append(("device", f"{device_name(device)} ({device}, {torch.get_num_threads()} threads)"))
    place = _existing(state())
    lines.append(("state", f"{state()}: {shutil.disk_usage(place).free / 1e9:.0f} GB free"))
    if not os.access(place, os.W_OK):
        trouble.append(f"{place} is not writable: set REPLICATION_HOME to a folder that is")
    lines += [("dataset", dataset.status()) for _, dataset in DATASETS.built()]
    for name, extractor in EXTRACTORS.built():
        here = f"weights {extractor.sha256[:12]}" if extractor.present else "weights not here; downloaded on first use"
        lines.append(("extractor", f"{name}: {here}"))
    lines += [("other parts", reason) for parts in REGISTRIES.values() if parts.names() for reason in parts.unreadable]
    try:
        store.check()
        lines.append(("tracking", store.address))
    except InputError as error:
        trouble.append(str(error))
    return lines, trouble


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    path = path.absolute()
    return path if path.exists() else _existing(path.parent)
