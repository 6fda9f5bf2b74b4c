"""Checkpoints: one safetensors file, its configuration inside, written so that a kill leaves the old or the new.

They are written and read tensor by tensor where they are weights, so that a network takes its own memory and no more.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from replication.files import replaced
from replication.types import InputError

MAPPED = 16 << 20  # bytes of a file that are mapped at a time
WIDEST_FIRST = {  # the format's names, in the order in which its library writes tensors
    torch.int64: "I64", torch.float64: "F64", torch.float32: "F32", torch.int32: "I32", torch.bfloat16: "BF16",
    torch.float16: "F16", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, Any], single: bool = False) -> None:
    """Atomically, and one tensor after the other, whatever device and layout it has; RunError if it can't be written.

    metadata: anything that JSON holds. single: numbers of fewer bits than float32 are written as that. The file is to the byte
    what the format's own library writes, which takes all tensors at once.
    """
    kinds, dtypes = list(WIDEST_FIRST), {name: tensor.dtype for name, tensor in tensors.items()}
    if single:
        real = {name: dtype for name, dtype in dtypes.items() if dtype.is_floating_point}
        dtypes |= {name: torch.promote_types(dtype, torch.float32) for name, dtype in real.items()}
    names = sorted(tensors, key=lambda name: (kinds.index(dtypes[name]), name))
    header: dict[str, Any] = {"__metadata__": {"metadata": json.dumps(metadata, sort_keys=True)}}
    end = 0
    for name in names:
        begin, end = end, end + tensors[name].numel() * dtypes[name].itemsize
        shape = list(tensors[name].shape)
        header[name] = {"dtype": WIDEST_FIRST[dtypes[name]], "shape": shape, "data_offsets": [begin, end]}
    beginning = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    beginning += b" " * (-len(beginning) % 8)
    with replaced(path) as partial, open(partial, "wb") as file:
        file.write(len(beginning).to_bytes(8, "little") + beginning)
        for name in names:
            content = tensors[name].detach().to("cpu", dtypes[name]).contiguous()
            file.write(content.reshape(-1).view(torch.uint8).numpy().data)


def load_weights(path: Path, prefixes: tuple[str, ...], device: torch.device | str) -> dict[str, Tensor]:
    """Tensors whose name begins with one of the prefixes, on the device, channels last where they are a convolution's.

    Numbers of fewer bits become float32, which is computed with. Each is copied once, out of a file of which little more
    than MAPPED bytes are in memory at a time. Raises InputError as load_checkpoint does.
    """
    with _opened(path) as file:
        names = [name for name in file.keys() if name.startswith(prefixes)]  # noqa: SIM118
    tensors: dict[str, Tensor] = {}
    while len(tensors) < len(names):
        mapped = 0
        with _opened(path) as file:
            for name in names[len(tensors) :]:
                if mapped > MAPPED:
                    break
                tensor = file.get_tensor(name)
                layout = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
                dtype = torch.float32 if tensor.is_floating_point() and tensor.itemsize < 4 else tensor.dtype
                tensors[name] = tensor.to(device, dtype, memory_format=layout, copy=True)
                mapped += tensor.nbytes
                del tensor
    return tensors


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
