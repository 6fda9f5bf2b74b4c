"""Replicates in a file: a tensor float32 [columns, R] for each row, by the row's key, and its stream in the metadata.

float32 holds seven digits, more than a figure is printed with; they come back as float64.

A row without replicates, as those have that were measured before there were any, is no error: it is judged as if it were
independent of the others, and the verdict says so. Replicates of other images than the row's are one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from replication.checkpoint import load_checkpoint, save_checkpoint
from replication.metrics.uncertainty import Replicates, resamples_of
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
    """Those of a row among the ones in a file, None where it has none there.

    Raises InputError unless they are as many, and of as many images of each seed, as the row's protocol states.
    """
    replicates = found.get(record["cell"])
    if replicates is None:
        return None
    row, stated = f"the protocol of row {record['cell'][:12]}", str(record.get("protocol.resamples"))
    again = "delete the file and measure again"
    for column, values in replicates.values.items():
        if str(len(values)) != stated:
            raise InputError(
                f"{path}: {len(values)} replicates of {column}, and {row} has resamples = {stated}; {again}"
            )
    n = record.get("protocol.n", 0)
    seeds = str(record.get("protocol.seeds", "0")).split()  # a first stage's has none
    if not replicates.stream.startswith(f"{resamples_of(stated, [n] * len(seeds))} against "):
        of_row = f"n = {n} and {len(seeds)} seeds" if len(seeds) > 1 else f"n = {n} and one seed"
        raise InputError(f"{path}: the replicates are {replicates.stream}, and {row} has {of_row}; {again}")
    return replicates
