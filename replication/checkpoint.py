"""Checkpoints: one safetensors file, its configuration inside, written so that a kill leaves the old or the new."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from replication.files import replaced
from replication.types import InputError


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, Any]) -> None:
    """Atomically, without a second copy in memory; metadata is anything that JSON holds. RunError if it can't be written."""
    on_cpu = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    with replaced(path) as partial:
        try:
            save_file(on_cpu, partial, {"metadata": json.dumps(metadata, sort_keys=True)})
        except SafetensorError as error:  # what the library makes of an OSError
            raise OSError(str(error)) from error


def load_checkpoint(path: Path, prefixes: tuple[str, ...] = ("",)) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors on the CPU whose name begins with one of the prefixes, metadata); what is not asked for is not read.

    Raises InputError if the file is missing, truncated or not one of ours.
    """
    with _opened(path) as file:
        names = [name for name in file.keys() if name.startswith(prefixes)]  # noqa: SIM118
        return {name: file.get_tensor(name) for name in names}, _metadata(file)


def load_metadata(path: Path) -> dict[str, Any]:
    """The metadata alone, without reading the tensors; raises InputError as load_checkpoint does."""
    with _opened(path) as file:
        return _metadata(file)


def _metadata(file: Any) -> dict[str, Any]:
    metadata = json.loads((file.metadata() or {})["metadata"])
    if not isinstance(metadata, dict):
        raise ValueError("its metadata are no table")
    return metadata


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise InputError(f"{path}: there is no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, KeyError, ValueError, OSError, RecursionError) as error:
        raise InputError(
            f"{path}: the checkpoint is corrupt ({error}); delete it and run again: what it held is computed anew"
        ) from error
