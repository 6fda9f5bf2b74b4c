"""The files that weights lie in: one safetensors file, or a folder as diffusers saves it, whole or in shards.

    FILE.safetensors
    FOLDER/diffusion_pytorch_model.safetensors                  the first choice; FOLDER's only other file is as good, as
    FOLDER/diffusion_pytorch_model.VARIANT.safetensors          fp16 or non_ema
    FOLDER/diffusion_pytorch_model.safetensors.index.json       says which shard holds each tensor, and every shard is read

Nothing is unpickled: .bin, .ckpt and .pt have to be converted first.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from replication.files import file_sha256, kind_of
from replication.types import InputError

NAME = "diffusion_pytorch_model.safetensors"  # diffusers'
SUFFIX = ".safetensors"
INDEX = re.compile(r".+\.safetensors\.index(\.\w+)?\.json")
SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})(.*)\.safetensors")
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".bin.index.json")
CONVERT = (
    'nothing is unpickled here. Convert it where you trust it, and give the new file: python -c "import sys, torch, '
    "safetensors.torch as s; w = torch.load(sys.argv[1], weights_only=True); w = w.get('state_dict', w); "
    "s.save_file({k: t.contiguous() for k, t in w.items() if torch.is_tensor(t)}, 'converted.safetensors')\" FILE"
)


class WeightFiles(NamedTuple):
    """What was found at a path."""

    files: tuple[Path, ...]  # one, or the shards in their order
    places: dict[str, str] | None = None  # tensor -> name of its shard
    left: tuple[str, ...] = ()  # other weights in the same folder, which were not taken

    @property
    def folder(self) -> Path:
        return self.files[0].parent

    def sha256(self, of_file: Callable[[Path], str] = file_sha256) -> str:
        """Of the file, or of the SHA-256s of the shards in their order."""
        found = [of_file(file) for file in self.files]
        return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def weight_files(path: Path) -> WeightFiles:
    """The files at the path; raises InputError that says what is there instead, and the way on."""
    if path.is_dir():
        return _in_folder(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    if INDEX.fullmatch(path.name):
        return _shards(path)
    if path.name.lower().endswith(PICKLES):
        raise InputError(f"{path}: a pickle, and {CONVERT}")
    if shard := SHARD.fullmatch(path.name):
        raise InputError(f"{path}: one of {int(shard[2])} shards; give their folder, or its index.json")
    return WeightFiles((path,))


def read_weights(found: WeightFiles) -> dict[str, Tensor]:
    """Every tensor, by name; raises InputError for a file that can't be read, and for shards that are not the index's."""
    weights: dict[str, Tensor] = {}
    for file in found.files:
        tensors = _loaded(file)
        if found.places is not None:
            stated = {name for name, shard in found.places.items() if shard == file.name}
            if odd := sorted(stated - tensors.keys()):
                raise InputError(f"{file}: has no tensor {odd[0]!r}, which the index says is here")
            if odd := sorted(tensors.keys() - stated):
                raise InputError(f"{file}: has a tensor {odd[0]!r}, which the index does not say is here")
        weights |= tensors
    return weights


def not_finite(weights: Mapping[str, Tensor]) -> str:
    """Which of them holds NaN or infinity, as half precision does that overflowed; empty for none."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and (count := int((~tensor.float().isfinite()).sum())):
            return f"tensor {name!r} has {count:,} of {tensor.numel():,} values that are not finite"
    return ""


def _in_folder(folder: Path) -> WeightFiles:
    names = sorted(file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    whole = [name for name in names if name.endswith(SUFFIX) and not SHARD.fullmatch(name)]
    there = [*whole, *(name for name in names if INDEX.fullmatch(name))]
    usual = [name for name in there if name in (NAME, f"{NAME}.index.json")]
    chosen = usual or there
    if len(chosen) > 1:
        raise InputError(f"{folder}: holds several weights ({', '.join(chosen)}); name one of them")
    if not chosen:
        raise InputError(f"{folder}: {_what_else(folder, names)}")
    left = tuple(name for name in there if name not in chosen)
    return weight_files(folder / chosen[0])._replace(left=left)


def _what_else(folder: Path, names: Sequence[str]) -> str:
    """What a folder without weights holds, and what to do."""
    if shards := [shard for name in names if (shard := SHARD.fullmatch(name))]:
        return f"holds {len(shards)} of {int(shards[0][2])} shards and no {NAME}.index.json, which says what is in them"
    if pickles := [name for name in names if name.endswith(PICKLES)]:
        return f"holds a pickle ({pickles[0]}), and {CONVERT}"
    parts = [part.name for part in sorted(folder.iterdir()) if part.is_dir() and _holds_weights(part)]
    if parts:
        named = ", ".join(str(folder / part) for part in parts)
        return f"is a whole pipeline; name the part that is meant: {named}"
    return f"holds no {NAME}, and no other safetensors file"


def _holds_weights(folder: Path) -> bool:
    return any(file.name.endswith((SUFFIX, *PICKLES)) for file in folder.iterdir())


def _shards(index: Path) -> WeightFiles:
    try:
        table = json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"]
        places = {str(name): str(file) for name, file in table.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{index}: no index of shards, with a table weight_map ({error})") from error
    names = sorted(set(places.values()))
    if odd := [name for name in names if Path(name).name != name or not name.endswith(SUFFIX)]:
        raise InputError(f"{index}: {odd[0]!r} is no safetensors file of this folder")
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        raise InputError(f"{index}: {len(missing)} of its {len(names)} shards are missing, the first is {missing[0]}")
    if not names:
        raise InputError(f"{index}: weight_map names no tensor")
    of = {shard.groups() for name in names if (shard := SHARD.fullmatch(name))}
    beside = [shard for file in sorted(index.parent.iterdir()) if (shard := SHARD.fullmatch(file.name))]
    if odd := [shard[0] for shard in beside if shard.groups() in of and shard[0] not in names]:
        raise InputError(f"{index}: does not name {odd[0]}, which is a shard of the same weights")
    return WeightFiles(tuple(index.parent / name for name in names), places)


def _loaded(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError, RuntimeError, LookupError) as error:
        kind = kind_of_no_safetensors(file)
        if kind in (kind_of(b"\x80\2"), kind_of(b"PK\3\4")):
            raise InputError(f"{file}: a pickle under the name of safetensors, and {CONVERT}") from error
        reason = f"its content is {kind}" if kind else str(error)
        raise InputError(f"{file}: not a readable safetensors file ({reason}); copy or convert it again") from error


def kind_of_no_safetensors(file: Path) -> str:
    """As kind_of, of a file that should be one: those begin with a length of eight bytes, the last of which are 0."""
    with open(file, "rb") as opened:
        beginning = opened.read(64)
    return kind_of(beginning) if any(beginning[4:8]) else ""
