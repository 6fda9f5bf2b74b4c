"""The files that weights lie in: one file of safetensors or of torch, or a folder of such, whole or in shards.

    FILE.safetensors, FILE.pt, FILE.ckpt, FILE.bin, FILE.pth
    FOLDER/diffusion_pytorch_model.safetensors                   the first choice; FOLDER's only other file is as good, as
    FOLDER/diffusion_pytorch_model.VARIANT.safetensors           fp16 or non_ema, and then the same with .bin or the like
    FOLDER/diffusion_pytorch_model.safetensors.index.json        says which shard holds each tensor, and every shard is read

Torch's files are pickles, and read by `weights_only` alone, which makes tensors and plain tables and runs nothing. What
trainers keep beside the weights (HARMLESS) becomes an empty object; any other class refuses the file. Tensors stay in
the file until they are used, but for files from before torch 1.6, which cannot be mapped.
"""

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from replication.checkpoint import MAPPED, computed_type
from replication.files import file_sha256, kind_of
from replication.types import InputError, one_line

STEM, SUFFIX = "diffusion_pytorch_model", ".safetensors"  # diffusers'
NAME = f"{STEM}{SUFFIX}"
PICKLES = (".bin", ".ckpt", ".pt", ".pth")
OBJECTS = (".pkl", ".pickle")
INDEX = re.compile(r".+\.(safetensors|bin)\.index(\.\w+)?\.json")
SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})(.*)\.(safetensors|bin)")
DEPTH = 8  # of tables inside a checkpoint
OF_OBJECTS = (
    "a pickle of whole objects, which only their own code can make again, and nothing foreign is run here. Where you trust it, "
    "save its weights with that code at hand, and give the new file. EDM's networks: python -c \"import pickle, sys, torch; "
    "torch.save(pickle.load(open(sys.argv[1], 'rb'))['ema'].state_dict(), 'weights.pt')\" FILE"
)


class _Bookkeeping:
    """What stands in the place of HARMLESS classes: it takes whatever is said of them, and does nothing."""

    def __init__(self, *_: object) -> None: ...

    def __new__(cls, *_: object) -> "_Bookkeeping":
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None: ...


HARMLESS = (  # records of trainers: DiT's and SiT's arguments, Lightning's callbacks in LDM's files, numpy's scalars
    "argparse.Namespace",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
)


class WeightFiles(NamedTuple):
    """What was found at a path."""

    files: tuple[Path, ...]  # one, or the shards in their order
    places: dict[str, str] | None = None  # tensor -> name of its shard
    left: tuple[str, ...] = ()  # other weights in the same folder, which were not taken
    beside: Path | None = None  # the folder of what `with_folder` added

    @property
    def folder(self) -> Path:
        return self.files[0].parent

    def sha256(self, of_file: Callable[[Path], str] = file_sha256) -> str:
        """Of the file, or of the SHA-256s of the shards in their order."""
        found = [of_file(file) for file in self.files]
        return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def with_folder(found: WeightFiles, name: str) -> WeightFiles:
    """With the weights of the same network in the folder of that name beside theirs, where there is one; raises as below."""
    folder = found.folder.absolute().parent / name
    if not name or not folder.is_dir():
        return found
    more = weight_files(folder)
    places = {**(found.places or {}), **(more.places or {})}
    return found._replace(files=(*found.files, *more.files), places=places or None, beside=folder)


def weight_files(path: Path) -> WeightFiles:
    """The files at the path; raises InputError that says what is there instead, and the way on."""
    if path.is_dir():
        return _in_folder(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    if INDEX.fullmatch(path.name):
        return _shards(path)
    if path.name.lower().endswith(OBJECTS):
        raise InputError(f"{path}: {OF_OBJECTS}")
    if shard := SHARD.fullmatch(path.name):
        raise InputError(f"{path}: one of {int(shard[2])} shards; give their folder, or its index.json")
    return WeightFiles((path,))


def read_weights(found: WeightFiles) -> dict[str, Tensor]:
    """Every tensor, by name; raises InputError for a file that can't be read, and for shards that are not the index's."""
    weights: dict[str, Tensor] = {}
    for file in found.files:
        tensors = _loaded(file)
        if stated := {name for name, shard in (found.places or {}).items() if shard == file.name}:
            if odd := sorted(stated - tensors.keys()):
                raise InputError(f"{file}: has no tensor {odd[0]!r}, which the index says is here")
            if odd := sorted(tensors.keys() - stated):
                raise InputError(f"{file}: has a tensor {odd[0]!r}, which the index does not say is here")
        weights |= tensors
    return weights


def in_single(found: WeightFiles) -> dict[str, Tensor]:
    """The same in memory, numbers of fewer bits as float32; of safetensors little more than MAPPED bytes are there twice.

    Raises InputError as read_weights does, and where a number is not finite.
    """
    single: dict[str, Tensor] = {}
    read_weights(found)  # mapped, and given up unread: what is wrong with the files is said
    for file in found.files:
        for tensors in [_loaded(file)] if kind_of_no_safetensors(file) else _in_parts(file):
            if spoilt := not_finite(tensors):
                raise InputError(f"{file}: {spoilt}")
            # In an expression, whose variables end with it: one tensor that is still named keeps the whole part mapped.
            single |= {name: tensor.to(computed_type(tensor), copy=True) for name, tensor in tensors.items()}
    return single


def _in_parts(file: Path) -> Iterator[dict[str, Tensor]]:
    """The tensors of a file that can be read, some at a time: what was mapped is given up with the file."""
    with safe_open(file, "pt") as opened:
        names = list(opened.keys())
    while names:
        tensors: dict[str, Tensor] = {}
        with safe_open(file, "pt") as opened:
            while names and sum(tensor.nbytes for tensor in tensors.values()) < MAPPED:
                name = names.pop()
                tensors[name] = opened.get_tensor(name)
        yield tensors
        tensors.clear()  # the caller's name for them lives until the next part is there


def not_finite(weights: Mapping[str, Tensor]) -> str:
    """Which of them holds NaN or infinity, as half precision does that overflowed; empty for none."""
    for name, tensor in weights.items():
        wide = tensor.float() if tensor.element_size() == 1 else tensor
        if tensor.is_floating_point() and (count := int((~wide.isfinite()).sum())):
            return f"tensor {name!r} has {count:,} of {tensor.numel():,} values that are not finite"
    return ""


def _in_folder(folder: Path) -> WeightFiles:
    names = sorted(file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    whole = [name for name in names if name.endswith((SUFFIX, *PICKLES)) and not SHARD.fullmatch(name)]
    there = [*whole, *(name for name in names if INDEX.fullmatch(name))]
    there = [name for name in there if SUFFIX in name] or there  # the same weights often lie beside them as pickles
    usual = [name for name in there if name.startswith((NAME, f"{STEM}.bin")) and name.count(".") in (1, 3)]
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
    if objects := [name for name in names if name.endswith(OBJECTS)]:
        return f"holds {objects[0]}, {OF_OBJECTS}"
    parts = [part.name for part in sorted(folder.iterdir()) if part.is_dir() and _holds_weights(part)]
    if parts:
        named = ", ".join(str(folder / part) for part in parts)
        return f"is a whole pipeline; name the part that is meant: {named}"
    return f"holds no {NAME}, and no other file of weights ({', '.join((SUFFIX, *PICKLES))})"


def _holds_weights(folder: Path) -> bool:
    return any(file.name.endswith((SUFFIX, *PICKLES)) for file in folder.iterdir())


def _shards(index: Path) -> WeightFiles:
    try:
        table = json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"]
        places = {str(name): str(file) for name, file in table.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{index}: no index of shards, with a table weight_map ({error})") from error
    names = sorted(set(places.values()))
    if odd := [name for name in names if Path(name).name != name or not name.endswith((SUFFIX, *PICKLES))]:
        raise InputError(f"{index}: {odd[0]!r} is no file of weights of this folder")
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
    kind = kind_of_no_safetensors(file)
    if kind in (kind_of(b"\x80\2"), kind_of(b"PK\3\4")):
        if file.suffix == SUFFIX:  # torch goes by the name
            raise InputError(f"{file}: a pickle under the name of safetensors; call it {file.stem}.pt")
        return _unpickled(file)
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError, RuntimeError, LookupError) as error:
        reason = f"its content is {kind}" if kind else str(error)
        raise InputError(f"{file}: not a readable file of weights ({reason}); copy or convert it again") from error


def _unpickled(file: Path) -> dict[str, Tensor]:
    """Of a file of torch's: the tensors of all its tables, whose names are joined by dots."""
    zipped = zipfile.is_zipfile(file)
    try:
        with torch.serialization.safe_globals([(_Bookkeeping, name) for name in HARMLESS]):
            content = torch.load(file, map_location="cpu", mmap=zipped, weights_only=True)
        tensors = dict(_tensors(content))
    except pickle.UnpicklingError as error:
        with open(file, "rb") as opened:
            by_torch = zipped or opened.read(2) == b"\x80\2"  # its protocol, and not Python's own
        raise InputError(f"{file}: {_why_not(str(error)) if by_torch else OF_OBJECTS}") from error
    except (
        RuntimeError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        EOFError,
        AssertionError,
    ) as error:
        inside = zipfile.ZipFile(file).namelist() if zipped else []
        if zipped and not any(name.endswith("data.pkl") for name in inside):
            raise InputError(
                f"{file}: a ZIP archive of {len(inside)} files and none of torch's; unpack it first"
            ) from error
        cut = not zipped and kind_of_no_safetensors(file) == kind_of(b"PK\3\4")
        reason = "the end of the file is missing" if cut else one_line(error)
        raise InputError(f"{file}: not a readable file of weights ({reason}); copy it again") from error
    if not tensors:
        raise InputError(f"{file}: holds no tensors under names, but {type(content).__name__}")
    return tensors


def _tensors(content: object, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Those in tables that are keyed by names; optimisers number theirs, and are left with everything else."""
    if not isinstance(content, Mapping) or depth > DEPTH:
        return
    for name, value in content.items():
        if not isinstance(name, str):
            continue
        if isinstance(value, Tensor):
            yield prefix + name, value.detach()
        else:
            yield from _tensors(value, f"{prefix}{name}.", depth + 1)


def _why_not(reason: str) -> str:
    """What torch's refusal says, without its advice to read the file nevertheless."""
    if blocked := re.search(r"GLOBAL ([\w.]+) whose module \w+ is blocked", reason):
        return f"a pickle that calls {blocked[1]}, which no weights have to: do not trust this file"
    if named := re.search(r"GLOBAL ([\w.]+)", reason):
        return (
            f"a pickle that needs {named[1]}, and tensors and plain tables alone are read (weights_only). Where you trust "
            "it and have the code of that class, save the weights by themselves and give the new file: "
            "torch.save(checkpoint['state_dict'], 'weights.pt'), or whatever it calls them"
        )
    stated = [line.strip() for line in reason.splitlines() if "rror:" in line] or [
        reason.strip()[:200] or "no reason stated"
    ]
    return f"not a readable pickle of weights ({stated[0]}); copy it again"


def kind_of_no_safetensors(file: Path) -> str:
    """As kind_of, of a file that should be one: those begin with a length in eight bytes, the last of them 0, and a brace."""
    with open(file, "rb") as opened:
        beginning = opened.read(64)
    return kind_of(beginning) if any(beginning[4:8]) or beginning[8:9] != b"{" else ""
