"""Images from elsewhere: a folder of PNG or JPEG files, an .npz as ADM writes it, or the suite's own sample chunks."""

import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from replication.checkpoint import load_checkpoint
from replication.metrics.metric import LEAST_IMAGES
from replication.sampling.generation import chunks_in
from replication.types import InputError

JPEG = (".jpg", ".jpeg")
PICTURES = (".png", *JPEG)
CHANNELS = {"L": 1, "RGB": 3}  # by Pillow's mode
ARRAY = "arr_0"  # ADM's name for the images in its sample and reference batches
ACCEPTED = "a folder of PNG or JPEG images, an .npz with uint8 [N,H,W,C], a sample chunk or a folder of them"


def read_images(path: Path) -> tuple[Tensor, bool]:
    """uint8 [N,C,H,W] in the order of the files' names, and whether any came as JPEG. Never unpickles.

    Raises InputError for what is none of the accepted kinds, damaged, of unequal sizes, or fewer than ten images.
    """
    files = [path]
    if path.is_dir():
        chunks = chunks_in(path)
        for before, chunk in pairwise(chunks):
            if chunk.start != before.stop:
                raise InputError(
                    f"{chunk.path}: images {before.stop} to {chunk.start - 1} of the sample set are missing"
                )
        files = [chunk.path for chunk in chunks] or sorted(
            file for file in path.glob("[!.]*") if file.suffix.lower() in PICTURES
        )
        if not files:
            raise InputError(f"{path}: there are no images in this folder; forensics takes {ACCEPTED}")
    elif path.suffix.lower() not in READERS:
        raise InputError(f"{path}: forensics takes an experiment, a checkpoint, {ACCEPTED}")
    pieces = [READERS[file.suffix.lower()](file) for file in files]
    for file, piece in zip(files, pieces, strict=True):
        if piece.dtype != torch.uint8 or piece.ndim != 4 or piece.shape[1] not in CHANNELS.values():
            found = f"{str(piece.dtype).removeprefix('torch.')} {list(piece.shape)}"
            raise InputError(
                f"{file}: images must be uint8 with 1 or 3 channels, these are {found} [N,C,H,W]; "
                "floats in [-1, 1] must be quantised first, which is a choice of its own"
            )
        if piece.shape[1:] != pieces[0].shape[1:]:
            raise InputError(f"{file}: is {_side(piece)}, {files[0].name} is {_side(pieces[0])}")
    images = torch.cat(pieces)
    if len(images) < LEAST_IMAGES:
        raise InputError(f"{path}: holds {len(images)} images, at least {LEAST_IMAGES} are needed")
    return images, any(file.suffix.lower() in JPEG for file in files)


def _side(images: Tensor) -> str:
    _, channels, height, width = images.shape
    return f"{width}x{height} with {channels} channel{'s' * (channels > 1)}"


def _decode(file: Path) -> Tensor:
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as picture:
            if picture.mode not in CHANNELS:
                raise InputError(f"{file}: mode {picture.mode} is neither grey (L) nor RGB with 8 bits")
            pixels = np.array(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{file}: not a readable PNG or JPEG image ({error})") from error
    return torch.from_numpy(pixels.reshape(1, *pixels.shape[:2], -1)).permute(0, 3, 1, 2)


def _read_npz(path: Path) -> Tensor:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = [ARRAY] if ARRAY in archive.files else archive.files
            if len(names) != 1:
                raise InputError(f"{path}: has no array {ARRAY!r} (it holds: {', '.join(names) or 'nothing'})")
            array = archive[names[0]]
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, KeyError) as error:
        raise InputError(f"{path}: not a readable .npz without pickled objects ({error})") from error
    if array.dtype != np.uint8 or array.ndim != 4:
        raise InputError(f"{path}: {names[0]} must be uint8 [N,H,W,C], it is {array.dtype} {list(array.shape)}")
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


def _read_chunk(path: Path) -> Tensor:
    tensors, _ = load_checkpoint(path, ("images",))
    if "images" not in tensors:
        raise InputError(f"{path}: holds neither images nor a recipe; forensics takes a checkpoint, {ACCEPTED}")
    return tensors["images"]


READERS = {".npz": _read_npz, ".safetensors": _read_chunk, **dict.fromkeys(PICTURES, _decode)}
