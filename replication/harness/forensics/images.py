"""Images from elsewhere: a folder of PNG or JPEG files, an .npz as ADM writes it, or the suite's own sample chunks."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from replication.metrics.metric import LEAST_IMAGES
from replication.types import InputError

SUFFIXES = (".png", ".jpg", ".jpeg")
CHANNELS = {"L": 1, "RGB": 3}  # by Pillow's mode
ARRAY = "arr_0"  # ADM's name for the images in its sample and reference batches
ACCEPTED = "a folder of PNG or JPEG images, an .npz with uint8 [N,H,W,C], a sample chunk or a folder of them"


def read_images(path: Path) -> Tensor:
    """uint8 [N,C,H,W] in the order of the files' names. Never unpickles.

    Raises InputError for what is none of the accepted kinds, damaged, of unequal sizes, or fewer than ten images.
    """
    if path.is_dir():
        images = _read_folder(path)
    elif path.suffix == ".npz":
        images = _read_npz(path)
    elif path.suffix == ".safetensors":
        images = _read_chunk(path)
    else:
        raise InputError(f"{path}: forensics takes an experiment, a checkpoint, {ACCEPTED}")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in CHANNELS.values():
        raise InputError(
            f"{path}: images must be uint8 with 1 or 3 channels, these are {_words(images)} [N,C,H,W]; "
            "floats in [-1, 1] must be quantised first, which is a choice of its own"
        )
    if len(images) < LEAST_IMAGES:
        raise InputError(f"{path}: holds {len(images)} images, at least {LEAST_IMAGES} are needed")
    return images


def any_jpeg(path: Path) -> bool:
    """Whether it is a folder with JPEG files in it: what that took from the images cannot be given back."""
    return path.is_dir() and any(file.suffix.lower() in (".jpg", ".jpeg") for file in path.iterdir())


def _words(images: Tensor) -> str:
    return f"{str(images.dtype).removeprefix('torch.')} {list(images.shape)}"


def _read_folder(path: Path) -> Tensor:
    if chunks := sorted(path.glob("[0-9]*-[0-9]*.safetensors")):
        pieces = [_read_chunk(chunk) for chunk in chunks]
        expected = 0
        for chunk, piece in zip(chunks, pieces, strict=True):
            if piece.shape[1:] != pieces[0].shape[1:]:
                raise InputError(f"{chunk}: holds {_words(piece)}, {chunks[0].name} holds {_words(pieces[0])}")
            start, stop = map(int, chunk.stem.split("-"))
            if start != expected or stop != start + len(piece):
                raise InputError(
                    f"{chunk}: holds {len(piece)} images, by its name {start} to {stop}, and the set goes on at {expected}"
                )
            expected = stop
        return torch.cat(pieces)
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    if not files:
        raise InputError(f"{path}: there are no images in this folder; forensics takes {ACCEPTED}")
    first, *rest = (_decode(file) for file in files)
    for file, image in zip(files[1:], rest, strict=True):
        if image.shape != first.shape:
            raise InputError(f"{file}: is {_side(image)}, {files[0].name} is {_side(first)}")
    return torch.stack([first, *rest])


def _side(image: Tensor) -> str:
    channels, height, width = image.shape
    return f"{width}x{height} with {channels} channel{'s' * (channels > 1)}"


def _decode(file: Path) -> Tensor:
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as picture:
            if picture.mode not in CHANNELS:
                raise InputError(f"{file}: mode {picture.mode} is neither grey (L) nor RGB with 8 bits")
            pixels = np.array(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{file}: not a readable PNG or JPEG image ({error})") from error
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)


def _read_npz(path: Path) -> Tensor:
    try:
        with np.load(path, allow_pickle=False) as archive:
            name = ARRAY if ARRAY in archive.files else None if len(archive.files) != 1 else archive.files[0]
            if name is None:
                raise InputError(f"{path}: has no array {ARRAY!r} (it holds: {', '.join(archive.files) or 'nothing'})")
            array = archive[name]
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, KeyError) as error:
        raise InputError(f"{path}: not a readable .npz without pickled objects ({error})") from error
    if array.dtype != np.uint8 or array.ndim != 4:
        raise InputError(f"{path}: {name} must be uint8 [N,H,W,C], it is {array.dtype} {list(array.shape)}")
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


def _read_chunk(path: Path) -> Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            if "images" not in file.keys():  # noqa: SIM118
                raise InputError(f"{path}: holds neither images nor a recipe; forensics takes a checkpoint, {ACCEPTED}")
            return file.get_tensor("images")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error
