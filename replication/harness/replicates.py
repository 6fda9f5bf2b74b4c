"""Replicates in a file: a tensor float32 [columns, R] for each row, by the row's key, and its stream in the metadata.

float32 holds seven digits, more than a figure is printed with; they come back as float64.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from replication.checkpoint import load_checkpoint, save_checkpoint
from replication.metrics.uncertainty import Replicates
from replication.types import InputError


def save_replicates(path: Path, replicates: Mapping[str, Replicates]) -> None:
    """Those of rows, by key, atomically; equal ones make equal files. Raises RunError if it can't be written."""
    tensors = {key: torch.stack([*of.values.values(), *of.raw.values()]).float() for key, of in replicates.items()}
    rows = {
        key: {"stream": of.stream, "columns": list(of.values), "raw": list(of.raw)} for key, of in replicates.items()
    }
    save_checkpoint(path, tensors, {"rows": rows})


def load_replicates(path: Path) -> dict[str, Replicates]:
    """By the row's key; raises InputError for a file that is damaged or none of `save_replicates`."""
    tensors, metadata = load_checkpoint(path)
    try:
        rows = metadata["rows"]
        return {key: _read(of, tensors[key].double()) for key, of in rows.items()}
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"{path}: not the replicates of rows ({error}); delete it and measure again") from error


def _read(row: Mapping[str, Any], tensor: Tensor) -> Replicates:
    columns, raw = row["columns"], row["raw"]
    values, before = tensor.split([len(columns), len(raw)])
    return Replicates(row["stream"], dict(zip(columns, values, strict=True)), dict(zip(raw, before, strict=True)))


def replicates_of_row(record: Mapping[str, Any], path: Path, found: Mapping[str, Replicates]) -> Replicates | None:
    """Those of a row among the ones in a file; raises InputError where they are not as many as its protocol asks for."""
    replicates = found.get(record["cell"])
    if replicates is None:
        return None
    for column, values in replicates.values.items():
        if str(len(values)) != (stated := record.get("protocol.resamples")):
            raise InputError(
                f"{path}: {len(values)} replicates of {column}, and the protocol of row {record['cell'][:12]} has "
                f"resamples = {stated}; delete the file and measure again"
            )
    return replicates
