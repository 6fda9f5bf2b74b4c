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
import zipfile
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
from safetensors import SafetensorError, safe_open
from torch import Tensor

from replication.datasets.pictures import (
    DAMAGE,
    MOST_BYTES,
    first_of,
    is_hidden,
    is_picture,
    is_turned,
    opened_picture,
    passed_over,
    refuse_other_formats,
    turned,
)
from replication.files import file_sha256, kind_of
from replication.layers.weight_files import kind_of_no_safetensors
from replication.metrics.metric import LEAST_IMAGES
from replication.sampling.chunks import chunks_in
from replication.types import InputError

FORMATS = ("PNG", "JPEG")
JPEG, EXIF = b"\xff\xd8\xff", b"Exif\0\0"  # how one begins, and how its block of EXIF does
BEGINNING = 4096  # bytes of a picture, enough for its orientation
CHANNELS = {"L": 1, "RGB": 3}  # by Pillow's mode
ARRAY = "arr_0"  # ADM's name for the images in its sample and reference batches
BATCH = 256  # images decoded at a time
ARRAY_MAGIC = b"\x93NUMPY"
UINT8 = "U8"  # in safetensors' header
ACCEPTED = "a folder or a ZIP of PNG or JPEG images, an .npz with uint8 [N,H,W,C], a sample chunk or a folder of them"
ACCEPTED_FROM = f"images are read from {ACCEPTED}"

Shape = tuple[int, int, int]  # C, H, W
Read = Callable[[str, int], bytes]  # so many bytes of the picture of that name, -1 for all


@dataclass(frozen=True, eq=False)
class ImageSet:
    """n images of one shape, uint8. `not_read`: the names of what else lies there."""

    path: Path
    shape: tuple[int, int, int, int]  # N, C, H, W
    # in order, [B,C,H,W]; InputError for one that is damaged or of another shape
    batches: Callable[[], Iterator[Tensor]]
    sources: Sequence[Path]  # the files that they are in
    beginnings: Callable[[], Iterator[bytes]] = lambda: iter(())  # of each picture, for its format and orientation
    not_read: Sequence[str] = ()

    @property
    def n(self) -> int:
        return self.shape[0]

    @property
    def of_image(self) -> Shape:
        """(C, H, W)."""
        return self.shape[1:]

    @property
    def jpegs(self) -> int:
        """How many came as JPEG."""
        return self._jpegs_and_turned[0]

    @property
    def lying(self) -> str:
        """How many are to be shown turned, in a sentence; empty for none."""
        return turned(self._jpegs_and_turned[1])

    @cached_property
    def _jpegs_and_turned(self) -> tuple[int, int]:
        jpegs = [beginning for beginning in self.beginnings() if beginning.startswith(JPEG)]
        return len(jpegs), sum(is_turned(one[one.find(EXIF) :]) for one in jpegs if EXIF in one)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over that of each file, in their order: what the images are a function of."""
        return hashlib.sha256("".join(map(file_sha256, self.sources)).encode()).hexdigest()

    @property
    def passed_over(self) -> str:
        """What was not read, in a sentence; empty for nothing."""
        return passed_over(self.not_read)


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
    entries = sorted(entry for entry in path.iterdir() if not is_hidden(entry.name))
    files = [entry for entry in entries if is_picture(entry.name, FORMATS) and entry.is_file()]
    others = [entry.name + "/" * entry.is_dir() for entry in entries if entry not in files]
    refuse_other_formats(path, others, FORMATS)
    if not files:
        inside = {folder.name: count for folder in entries if folder.is_dir() and (count := _count(folder))}
        hint = f"its sub-folders hold {sum(inside.values()):,} ({first_of([*inside])}): name one of them, or put them together"
        raise InputError(f"{path}: there are no images in this folder; {hint if inside else ACCEPTED_FROM}")

    def read(name: str, size: int) -> bytes:
        with open(path / name, "rb") as file:
            return file.read(size)

    return _of_pictures(path, [file.name for file in files], lambda: nullcontext(read), files, others)


def _count(folder: Path) -> int:
    """Images in the folder, as far as their names tell."""
    chunks = chunks_in(folder)
    return chunks[-1].stop - chunks[0].start if chunks else sum(is_picture(f.name, FORMATS) for f in folder.iterdir())


def _in_zip(path: Path) -> ImageSet:
    with _archive(path, "ZIP") as archive:
        entries = [entry for entry in archive.infolist() if not (entry.is_dir() or is_hidden(entry.filename))]
    names = sorted(entry.filename for entry in entries if is_picture(entry.filename, FORMATS))
    others = sorted({entry.filename for entry in entries}.difference(names))
    _refuse_doubles(path, names)
    if secret := [entry.filename for entry in entries if entry.flag_bits & 1]:
        raise InputError(f"{path}: {secret[0]} needs a password; images are read from archives without one")
    refuse_other_formats(path, others, FORMATS)
    folders = sorted({str(PurePosixPath(name).parent) for name in names})
    if len(folders) > 1:
        raise InputError(f"{path}: its images lie in {len(folders)} folders ({first_of(folders)}), and a set in one")
    if not names:
        held = f"it holds {first_of(others)}" if others else "it is empty"
        raise InputError(f"{path}: there are no images in this archive, {held}; {ACCEPTED_FROM}")

    @contextmanager
    def opened() -> Iterator[Read]:
        with _archive(path, "ZIP") as archive:

            def read(name: str, size: int) -> bytes:
                with archive.open(name) as member:
                    return member.read(size)

            yield read

    return _of_pictures(path, names, opened, [path], others)


def _refuse_doubles(path: Path, members: Sequence[str]) -> None:
    """Raises InputError where a name is there twice: which of them is meant can't be known."""
    if double := next((name for name, count in Counter(members).items() if count > 1), None):
        raise InputError(f"{path}: {double} is in this archive more than once")


def _of_pictures(
    path: Path,
    names: Sequence[str],
    opened: Callable[[], AbstractContextManager[Read]],
    sources: Sequence[Path],
    others: Sequence[str],
) -> ImageSet:
    """Of the pictures of these names below the path."""

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
            yield from (read(name, BEGINNING) for name in names)

    with opened() as read, _picture(read, path, names[0]) as first:
        shape = CHANNELS[first.mode], first.height, first.width
    return ImageSet(path, (len(names), *shape), batches, sources, beginnings, others)


@contextmanager
def _picture(read: Read, path: Path, name: str) -> Iterator[Image.Image]:
    if len(content := read(name, MOST_BYTES + 1)) > MOST_BYTES:
        raise InputError(f"{path / name}: more than {MOST_BYTES:,} bytes, which no picture of a set has")
    with opened_picture(io.BytesIO(content), str(path / name), FORMATS) as picture:
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
        members = archive.namelist()
        _refuse_doubles(path, members)
        arrays = [name.removesuffix(".npy") for name in members if name.endswith(".npy")]
        name = ARRAY if ARRAY in arrays else arrays[0] if len(arrays) == 1 else None
        if name is None:
            if all(is_picture(member, FORMATS) for member in members) and members:
                raise InputError(f"{path}: holds pictures and no array, as a ZIP does: give it the suffix .zip")
            held = f"it holds {first_of(arrays or members) or 'nothing'}"
            raise InputError(f"{path}: has no array {ARRAY!r}, {held}; save it with numpy.savez(path, {ARRAY}=...)")
        if (entry := archive.getinfo(f"{name}.npy")).flag_bits & 1:
            raise InputError(f"{path}: {name} needs a password; images are read from archives without one")
        with archive.open(entry) as member:
            shape, fortran, dtype = _header(member)
            stated, held_bytes = member.tell() + math.prod(shape), entry.file_size
    found = f"{path}: {name} must be uint8 [N,H,W,C] with 1 or 3 channels, it is {dtype} {list(shape)}"
    if dtype != np.uint8:
        quantised = "floats, in [0, 1] or [-1, 1], must be quantised first, which is a choice of its own"
        as_levels = "save the images themselves, 0 to 255, as uint8"
        raise InputError(f"{found}: {quantised if dtype.kind == 'f' else as_levels}")
    if len(shape) != 4 or shape[3] not in CHANNELS.values():
        if len(shape) == 3:
            found += ": grey images have one channel; save array[..., None]"
        elif len(shape) == 4 and shape[1] in CHANNELS.values():
            found += ": it looks like [N,C,H,W]; save array.transpose(0, 2, 3, 1)"
        raise InputError(found)
    n, height, width, channels = shape
    if min(shape) < 1:
        raise InputError(f"{found}: there are no images in it")
    if fortran:
        raise InputError(f"{path}: {name} lies column by column; save numpy.ascontiguousarray of it")

    def batches() -> Iterator[Tensor]:
        if stated != held_bytes:
            raise InputError(
                f"{path}: this .npz is damaged: {name} has {held_bytes:,} bytes and its header states {stated:,}"
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
    shape, fortran, dtype = read[version](member)
    if any(isinstance(side, bool) for side in shape):  # Python counts them as numbers
        raise ValueError(f"a shape of {shape}")
    return shape, fortran, dtype


def _in_chunks(path: Path) -> ImageSet:
    chunks = chunks_in(path)
    for before, chunk in pairwise(chunks):
        if chunk.start != before.stop:
            odd = (
                f"after image {before.stop - 1} this one begins with {chunk.start}, so some are missing or there twice"
            )
            raise InputError(f"{chunk.path}: of the sample set, {odd}")
    shape = _chunk(chunks[0].path).shape[1:]

    def batches() -> Iterator[Tensor]:
        for chunk in chunks:
            images = _chunk(chunk.path)
            if len(images) != len(chunk):
                raise InputError(f"{chunk.path}: holds {len(images)} images, by its name {len(chunk)}")
            if images.shape[1:] != shape:
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
    """The images of a chunk, whoever wrote it; its header is looked at before any of them is read."""
    try:
        with safe_open(path, framework="pt") as file:
            if "images" not in file.keys():  # noqa: SIM118
                raise InputError(f"{path}: holds no tensor 'images'; {ACCEPTED_FROM}")
            header = file.get_slice("images")
            shape, dtype = header.get_shape(), header.get_dtype()
            if dtype != UINT8 or len(shape) != 4 or shape[1] not in CHANNELS.values() or min(shape) < 1:
                found = f"they are {dtype} {shape}"
                raise InputError(f"{path}: images must be uint8 [N,C,H,W] with 1 or 3 channels, {found}")
            return file.get_tensor("images")
    except (SafetensorError, *DAMAGE) as error:
        raise _damaged(path, "safetensors file", kind_of_no_safetensors(path), error) from error


@contextmanager
def _archive(path: Path, kind: str) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever zipfile and numpy raise while they read it becomes an InputError with its name."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, lzma.LZMAError, *DAMAGE) as error:
        with open(path, "rb") as file:
            beginning = file.read(64)
        content = "" if beginning.startswith(b"PK") else kind_of(beginning)  # it is one, damaged further on
        raise _damaged(path, kind, content, error) from error


def _damaged(path: Path, what: str, kind: str, error: Exception) -> InputError:
    """`kind` is what its content is instead, where that tells."""
    reason = f"its content is {kind}" if kind else str(error) or type(error).__name__
    return InputError(f"{path}: this {what} is damaged, or is none ({reason})")


READERS = {".npz": _in_npz, ".zip": _in_zip, ".safetensors": _in_one_chunk}
