"""Checkpoints: one safetensors file, its configuration inside, written so that a kill leaves the old or the new.

They are written and read tensor by tensor where they are weights, so that a network takes its own memory and no more. The
header holds a checksum of itself and of each tensor, since the format does not notice a flipped bit; each is compared when its
part is read. They are CRC-32: every flipped bit is found, and a forger is nobody's concern here. Files from before there were
any are read as they are.
"""

import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

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

CHECKSUMS = "checksums"  # in the header: of each tensor by its name, and under "" of the rest of the metadata


class Corrupt(InputError):
    """A checkpoint that holds anything else than what was written."""


@dataclass(frozen=True)
class Streamed:
    """A tensor that is made while it is written, in pieces along its first dimension."""

    shape: Sequence[int]
    dtype: torch.dtype
    pieces: Iterable[Tensor]


def save_checkpoint(
    path: Path, tensors: Mapping[str, Tensor | Streamed], metadata: dict[str, Any], single: bool = False
) -> None:
    """Atomically, and one tensor after the other, whatever device and layout it has; RunError if it can't be written.

    metadata: anything that JSON holds. single: numbers of fewer bits than float32 are written as that. The file is to the byte
    what the format's own library writes, which takes all tensors at once.
    """
    said = json.loads(json.dumps(metadata))
    kinds, dtypes = list(WIDEST_FIRST), {name: tensor.dtype for name, tensor in tensors.items()}
    if single:
        real = {name: dtype for name, dtype in dtypes.items() if dtype.is_floating_point}
        dtypes |= {name: torch.promote_types(dtype, torch.float32) for name, dtype in real.items()}
    names = sorted(tensors, key=lambda name: (kinds.index(dtypes[name]), name))
    checksums, end = {"": _checksum_of(said), **dict.fromkeys(names, "0" * 8)}, 0
    header: dict[str, Any] = {"__metadata__": {}}
    for name in names:
        shape = list(tensors[name].shape)
        begin, end = end, end + math.prod(shape) * dtypes[name].itemsize
        header[name] = {"dtype": WIDEST_FIRST[dtypes[name]], "shape": shape, "data_offsets": [begin, end]}

    def beginning() -> bytes:
        header["__metadata__"]["metadata"] = json.dumps({**said, CHECKSUMS: checksums}, sort_keys=True)
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    with replaced(path) as partial, open(partial, "wb") as file:
        file.write(beginning())
        for name in names:
            tensor = tensors[name]
            checksum = _checksum_of_kind(dtypes[name], tensor.shape)
            for piece in tensor.pieces if isinstance(tensor, Streamed) else [tensor]:
                content = _bytes(piece.detach().to("cpu", dtypes[name]).contiguous())
                checksum = zlib.crc32(content, checksum)
                file.write(content)
            checksums[name] = f"{checksum:08x}"
        file.seek(0)  # as long as before: the checksums are known now
        file.write(beginning())


def computed_type(tensor: Tensor) -> torch.dtype:
    """What a stored tensor is computed with as: float32 for numbers of fewer bits."""
    return torch.float32 if tensor.is_floating_point() and tensor.itemsize < 4 else tensor.dtype


def load_weights(path: Path, prefixes: tuple[str, ...], device: torch.device | str) -> dict[str, Tensor]:
    """Tensors whose name begins with one of the prefixes, on the device, channels last where they are a convolution's.

    Numbers of fewer bits become float32, which is computed with. Each is copied once, out of a file of which little more
    than MAPPED bytes are in memory at a time. Raises InputError as load_checkpoint does.
    """
    with _opened(path) as opened:
        names = opened.names(prefixes)
    tensors: dict[str, Tensor] = {}
    while len(tensors) < len(names):
        mapped = 0
        with _opened(path) as opened:
            for name in names[len(tensors) :]:
                if mapped > MAPPED:
                    break
                tensor = opened.tensor(name)
                layout = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
                tensors[name] = tensor.to(device, computed_type(tensor), memory_format=layout, copy=True)
                mapped += tensor.nbytes
                del tensor
    return tensors


def load_checkpoint(path: Path, prefixes: tuple[str, ...] = ("",)) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors on the CPU whose name begins with one of the prefixes, metadata); what is not asked for is not read.

    Raises InputError if the file is missing, Corrupt if it is truncated, changed or not one of ours.
    """
    with _opened(path) as opened:
        return {name: opened.tensor(name) for name in opened.names(prefixes)}, opened.metadata


def check_checkpoint(path: Path) -> None:
    """Read all of it, one tensor after the other; raises as load_checkpoint does."""
    with _opened(path) as opened:
        for name in opened.names(("",)):
            opened.tensor(name)


def load_metadata(path: Path) -> dict[str, Any]:
    """The metadata alone, without reading the tensors; raises InputError as load_checkpoint does."""
    with _opened(path) as opened:
        return opened.metadata


def holds(path: Path, prefix: str) -> bool:
    """Whether any tensor's name begins with it; raises InputError as load_checkpoint does."""
    with _opened(path) as opened:
        return bool(opened.names((prefix,)))


def metadata_of_ours(path: Path) -> dict[str, Any]:
    """The same, empty for a file that is damaged or not one of ours, which its reader says."""
    with suppress(InputError):
        return load_metadata(path)
    return {}


class _Opened(NamedTuple):
    """A file that is being read; no checksums where it was written without."""

    file: Any
    metadata: dict[str, Any]
    checksums: dict[str, str] | None

    def names(self, prefixes: tuple[str, ...]) -> list[str]:
        names = [name for name in self.file.keys() if name.startswith(prefixes)]  # noqa: SIM118
        known = {name for name in self.checksums or () if name and name.startswith(prefixes)}
        if self.checksums is not None and set(names) != known:
            raise ValueError("its tensors have other names than those that were written")
        return names

    def tensor(self, name: str) -> Tensor:
        tensor: Tensor = self.file.get_tensor(name)
        checksum = zlib.crc32(_bytes(tensor), _checksum_of_kind(tensor.dtype, tensor.shape))
        if self.checksums is not None and self.checksums[name] != f"{checksum:08x}":
            raise ValueError(f"its tensor {name!r} is not the one that was written")
        return tensor


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _checksum_of_kind(dtype: torch.dtype, shape: Sequence[int]) -> int:
    return zlib.crc32(f"{dtype} {list(shape)}".encode())


def _checksum_of(metadata: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(metadata, sort_keys=True).encode()):08x}"


@contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    if not path.is_file():
        raise InputError(f"{path}: there is no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["metadata"])
            if not isinstance(metadata, dict):
                raise ValueError("its metadata are no table")
            checksums = metadata.pop(CHECKSUMS, None)
            if checksums is not None and checksums[""] != _checksum_of(metadata):
                raise ValueError("its metadata are not those that were written")
            yield _Opened(file, metadata, checksums)
    except (SafetensorError, KeyError, TypeError, ValueError, OSError, RecursionError) as error:
        raise Corrupt(
            f"{path}: the checkpoint is corrupt ({error}); delete it and run again: what it held is computed anew"
        ) from error
