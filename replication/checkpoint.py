"""Checkpoints: one safetensors file, its configuration inside, written so that a kill leaves the old or the new."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from replication.types import InputError, RunError


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the target, flush to disk, rename. Raises RunError if the folder can't be written or is full."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror or error}; what was finished before is kept") from error


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, Any]) -> None:
    """Atomically; metadata is anything that JSON holds."""
    on_cpu = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    write_atomically(path, save(on_cpu, {"metadata": json.dumps(metadata, sort_keys=True)}))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors on the CPU, metadata). Raises InputError if the file is missing, truncated or not one of ours."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["metadata"])
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputError(
            f"{path}: the checkpoint is corrupt ({error}); delete it and run again: what it held is computed anew"
        ) from error
