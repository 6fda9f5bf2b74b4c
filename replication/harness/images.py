"""Images from elsewhere, as measure and forensics take them: how many there are and of what shape, then batch by batch.

    FOLDER         PNG or JPEG files that lie in it, in the order of their names; or the suite's own sample chunks
    FILE.zip       the same pictures, in one folder of the archive
    FILE.npz       uint8 [N,H,W,C], as ADM's sample and reference batches have it (`arr_0`)
    FILE.safetensors   one sample chunk

The content of a picture decides what it is, not its name. Files of other kinds are not read, and are named; a folder that
holds images in another format is refused, for then the set is not whole. Hidden files count nowhere. Never unpickles.
"""

import hashlib
import io
import lzma
import math
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from replication.checkpoint import load_checkpoint
from replication.datasets.pictures import opened_picture
from replication.files import file_sha256
from replication.metrics.metric import LEAST_IMAGES
from replication.sampling.generation import chunks_in
from replication.types import InputError

PICTURES = (".png", ".jpg", ".jpeg")
OTHER_PICTURES = (".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif", ".heic", ".jxl", ".tga")
FORMATS = ("PNG", "JPEG")
JPEG = b"\xff\xd8\xff"  # how one begins
CHANNELS = {"L": 1, "RGB": 3}  # by Pillow's mode
ARRAY = "arr_0"  # ADM's name for the images in its sample and reference batches
BATCH = 256  # images decoded at a time
SHOWN = 3  # names of files that were not read
ARRAY_MAGIC = b"\x93NUMPY"
ACCEPTED = "a folder or a ZIP of PNG or JPEG images, an .npz with uint8 [N,H,W,C], a sample chunk or a folder of them"
ACCEPTED_FROM = f"images are read from {ACCEPTED}"

Shape = tuple[int, int, int]  # C, H, W
Read = Callable[[str, int], bytes]  # so many bytes of the picture of that name, -1 for all


@dataclass(frozen=True, eq=False)
class ImageSet:
    """n images of one shape, uint8. `not_read`: the names of what else lies there."""

    path: Path
    shape: tuple[int, int, int, int]  # N, C, H, W
    batches: Callable[
        [], Iterator[Tensor]
    ]  # in order, [B,C,H,W]; InputError for one that is damaged or of another shape
    sources: Sequence[Path]  # the files that they are in
    beginnings: Callable[[], Iterator[bytes]] = lambda: iter(())  # of each picture, for its format
    not_read: Sequence[str] = ()

    @property
    def n(self) -> int:
        return self.shape[0]

    @property
    def of_image(self) -> Shape:
        """(C, H, W)."""
        return self.shape[1:]

    @cached_property
    def jpegs(self) -> int:
        """How many came as JPEG."""
        return sum(beginning.startswith(JPEG) for beginning in self.beginnings())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over that of each file, in their order: what the images are a function of."""
        return hashlib.sha256("".join(map(file_sha256, self.sources)).encode()).hexdigest()

    @property
    def passed_over(self) -> str:
        """What was not read, in a sentence; empty for nothing. Names that are not UTF-8 are escaped."""
        if not self.not_read:
            return ""
        names = os.fsencode(_first(self.not_read)).decode(errors="backslashreplace")
        were = "file was" if len(self.not_read) == 1 else "files were"
        return f"{len(self.not_read):,} {were} not read: {names}"


def open_images(path: Path) -> ImageSet:
    """The images at that path, of which no more is read than tells their number and shape.

    Raises InputError for what is none of the accepted kinds, damaged, or fewer than ten images.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if path.is_dir():
        found = _in_chunks(path) if chunks_in(path) else _in_folder(path)
    elif path.suffix.lower() in READERS:
        found = READERS[path.suffix.lower()](path)
    else:
        raise InputError(f"{path}: {ACCEPTED_FROM}")
    if found.n < LEAST_IMAGES:
        raise InputError(f"{path}: holds {found.n} images, at least {LEAST_IMAGES} are needed")
    return found


def grey_in_colour(images: ImageSet, shapes: Collection[Shape]) -> str:
    """A hint for images of none of these shapes that would have one if their three equal channels were one.

    torchvision's save_image writes grey images so.
    """
    channels, *side = images.of_image
    if channels != 3 or (1, *side) not in shapes:
        return ""
    first = next(images.batches())
    equal = "; the three channels of these images are equal: save them with one (in Pillow, image.convert('L'))"
    return equal if (first == first[:, :1]).all() else ""


def _in_folder(path: Path) -> ImageSet:
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    files = [entry for entry in entries if entry.suffix.lower() in PICTURES and entry.is_file()]
    others = [entry.name + "/" * entry.is_dir() for entry in entries if entry not in files]
    if not (files or _of_another_format(others)):
        inside = [folder.name for folder in entries if folder.is_dir() and _holds_images(folder)]
        hint = f"there are some in its sub-folders ({_first(inside)}): name one of them" if inside else ACCEPTED_FROM
        raise InputError(f"{path}: there are no images in this folder; {hint}")

    def read(name: str, size: int) -> bytes:
        with open(path / name, "rb") as file:
            return file.read(size)

    return _of_pictures(path, [file.name for file in files], lambda: nullcontext(read), files, others)


def _holds_images(folder: Path) -> bool:
    return bool(chunks_in(folder)) or any(file.suffix.lower() in PICTURES for file in folder.glob("[!.]*"))


def _in_zip(path: Path) -> ImageSet:
    with _archive(path, "ZIP") as archive:
        entries = [entry for entry in archive.infolist() if not (entry.is_dir() or _hidden(entry.filename))]
    names = sorted({entry.filename for entry in entries if PurePosixPath(entry.filename).suffix.lower() in PICTURES})
    others = sorted({entry.filename for entry in entries}.difference(names))
    if secret := [entry.filename for entry in entries if entry.flag_bits & 1]:
        raise InputError(f"{path}: {secret[0]} needs a password; images are read from archives without one")
    folders = sorted({str(PurePosixPath(name).parent) for name in names})
    if len(folders) > 1:
        raise InputError(f"{path}: its images lie in {len(folders)} folders ({_first(folders)}), and a set in one")
    if not (names or _of_another_format(others)):
        raise InputError(f"{path}: there are no images in this archive; {ACCEPTED_FROM}")

    @contextmanager
    def opened() -> Iterator[Read]:
        with _archive(path, "ZIP") as archive:

            def read(name: str, size: int) -> bytes:
                with archive.open(name) as member:
                    return member.read(size)

            yield read

    return _of_pictures(path, names, opened, [path], others)


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _of_pictures(
    path: Path,
    names: Sequence[str],
    opened: Callable[[], AbstractContextManager[Read]],
    sources: Sequence[Path],
    others: Sequence[str],
) -> ImageSet:
    """Of the pictures of these names below the path."""
    if odd := _of_another_format(others):
        kinds = Counter(PurePosixPath(name).suffix.lower().removeprefix(".").upper() for name in odd)
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        raise InputError(
            f"{path}: images in other formats than PNG and JPEG are not read ({listed}; the first is {odd[0]}): save them "
            "as PNG, or move away what is no part of the set"
        )

    def decoded(read: Read, name: str) -> Tensor:
        with _picture(read, path, name) as picture:
            pixels = np.array(picture)
        return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)

    def batches() -> Iterator[Tensor]:
        with opened() as read:
            for start in range(0, len(names), BATCH):
                images = []
                for name in names[start : start + BATCH]:
                    images.append(decoded(read, name))
                    if images[-1].shape != shape:
                        found = f"is {_side(images[-1].shape)}, {names[0]} is {_side(shape)}"
                        raise InputError(f"{path / name}: {found}; a set has one size")
                yield torch.stack(images)

    def beginnings() -> Iterator[bytes]:
        with opened() as read:
            yield from (read(name, len(JPEG)) for name in names)

    with opened() as read, _picture(read, path, names[0]) as first:
        shape = CHANNELS[first.mode], first.height, first.width
    return ImageSet(path, (len(names), *shape), batches, sources, beginnings, others)


def _of_another_format(names: Sequence[str]) -> list[str]:
    return [name for name in names if PurePosixPath(name).suffix.lower() in OTHER_PICTURES]


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


@contextmanager
def _picture(read: Read, path: Path, name: str) -> Iterator[Image.Image]:
    with opened_picture(io.BytesIO(read(name, -1)), str(path / name), FORMATS) as picture:
        if picture.mode not in CHANNELS:
            raise InputError(f"{path / name}: mode {picture.mode} is neither grey (L) nor RGB with 8 bits")
        yield picture


def _side(shape: Sequence[int]) -> str:
    channels, height, width = shape
    return f"{width}x{height} with {channels} channel{'s' * (channels > 1)}"


def _in_npz(path: Path) -> ImageSet:
    """Read as it streams out of the archive, so that the size that its header states costs nothing."""
    with open(path, "rb") as file:
        if file.read(len(ARRAY_MAGIC)) == ARRAY_MAGIC:
            raise InputError(f"{path} is no archive but a single array; save it with numpy.savez(path, {ARRAY}=...)")
    with _archive(path, ".npz") as archive:
        arrays = [name.removesuffix(".npy") for name in archive.namelist()]
        name = ARRAY if ARRAY in arrays else arrays[0] if len(arrays) == 1 else None
        if name is None:
            raise InputError(f"{path}: has no array {ARRAY!r} (it holds: {', '.join(arrays) or 'nothing'})")
        with archive.open(f"{name}.npy") as member:
            shape, fortran, dtype = _header(member)
            stated, held = member.tell() + math.prod(shape), archive.getinfo(f"{name}.npy").file_size
    if dtype != np.uint8 or len(shape) != 4:
        raise InputError(
            f"{path}: {name} must be uint8 [N,H,W,C], it is {dtype} {list(shape)}; floats in [-1, 1] must be quantised "
            "first, which is a choice of its own"
        )
    n, height, width, channels = shape
    if channels not in CHANNELS.values():
        raise InputError(f"{path}: {name} is {list(shape)} [N,H,W,C], and images have 1 or 3 channels")
    if fortran:
        raise InputError(f"{path}: {name} lies column by column; save numpy.ascontiguousarray of it")

    def batches() -> Iterator[Tensor]:
        if stated != held:
            raise InputError(
                f"{path}: this .npz is damaged: {name} has {held:,} bytes and its header states {stated:,}"
            )
        with _archive(path, ".npz") as archive, archive.open(f"{name}.npy") as member:
            _header(member)
            for start in range(0, n, BATCH):
                count = min(BATCH, n - start)
                content = bytearray(member.read(count * height * width * channels))
                images = torch.frombuffer(content, dtype=torch.uint8).reshape(count, height, width, channels)
                yield images.permute(0, 3, 1, 2).contiguous()
            member.read()  # where the archive checks the whole

    return ImageSet(path, (n, channels, height, width), batches, [path])


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, Any]:
    """Shape, whether columns come first, and type, of an array in numpy's format; raises ValueError for another one."""
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    version, _ = np.lib.format.read_magic(member)
    if version not in read:
        raise ValueError(f"version {version} of numpy's format has no arrays of numbers")
    return read[version](member)


def _in_chunks(path: Path) -> ImageSet:
    chunks = chunks_in(path)
    for before, chunk in pairwise(chunks):
        if chunk.start != before.stop:
            raise InputError(f"{chunk.path}: images {before.stop} to {chunk.start - 1} of the sample set are missing")
    shape = _chunk(chunks[0].path).shape[1:]

    def batches() -> Iterator[Tensor]:
        for chunk in chunks:
            if (images := chunk.images()).shape[1:] != shape:
                raise InputError(f"{chunk.path}: is {_side(images.shape[1:])}, {chunks[0].path.name} is {_side(shape)}")
            yield images

    files = [chunk.path for chunk in chunks]
    others = sorted(entry.name for entry in path.glob("[!.]*") if entry not in files)
    n = chunks[-1].stop - chunks[0].start
    return ImageSet(path, (n, *shape), batches, files, not_read=others)


def _in_one_chunk(path: Path) -> ImageSet:
    images = _chunk(path)
    n, channels, height, width = images.shape
    return ImageSet(path, (n, channels, height, width), lambda: iter([images]), [path])


def _chunk(path: Path) -> Tensor:
    tensors, _ = load_checkpoint(path, ("images",))
    images = tensors.get("images")
    if images is None:
        raise InputError(f"{path}: holds no images; {ACCEPTED_FROM}")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in CHANNELS.values():
        found = f"{str(images.dtype).removeprefix('torch.')} {list(images.shape)}"
        raise InputError(f"{path}: images must be uint8 [N,C,H,W] with 1 or 3 channels, these are {found}")
    return images


@contextmanager
def _archive(path: Path, kind: str) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever zipfile and numpy raise while they read it becomes an InputError with its name."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (
        zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, KeyError, ValueError, RuntimeError, MemoryError,
    ) as error:  # fmt: skip
        raise InputError(f"{path}: this {kind} is damaged, or is none ({error})") from error


READERS = {".npz": _in_npz, ".zip": _in_zip, ".safetensors": _in_one_chunk}
