"""Picture files: what counts as one, and one way to open it, so that nothing is lost without a word.

A name says which files are looked at, and the content what they are. Hidden files count nowhere; files of other kinds are
not read, and named; a set with images in another format is refused, for it would not be whole.

How a photograph of any size becomes a square of the model's resolution: the named ways of the published code.

    crop, bicubic                the largest centred square, then one PIL bicubic resize: LDM's LSUN loader
                                 (CompVis/latent-diffusion, ldm/data/lsun.py)
    crop, lanczos                likewise by PIL's Lanczos filter: DDPM's LSUN, from the tool of progressive GANs
                                 (tkarras/progressive_growing_of_gans, dataset_tool.py)
    bilinear, crop               the shorter side by OpenCV's bilinear filter, then the centred square: LDM's CelebA-HQ and
                                 FFHQ (CompVis/taming-transformers, taming/data/base.py)
    celeba crop, bilinear        the 128x128 pixels around column 89 and row 121 of an aligned CelebA photograph, then PIL's
                                 bilinear filter: DDIM's CelebA (ermongroup/ddim, datasets/__init__.py)
    box halving, bicubic, crop   halved by box averages while the shorter side has twice the pixels or more, then PIL
                                 bicubic to that side, then the centred square: ADM, and DiT after it (train.py)

A set may be kept as "bilinear, whole" besides, without a crop (Whole in dataset.py): trainings cut windows out of it.
A square that has the resolution already is what it was under any name but CelebA's. None reads EXIF orientation, as no
such code does. PIL's filters widen with the factor (they average), OpenCV's do not: the two give different pixels.
OpenCV's own bilinear filter computes in fixed point, and may differ by one level from the one here.
"""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import PurePosixPath
from tokenize import TokenError
from typing import IO, Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch.nn.functional import interpolate

from replication.files import kind_of, printable
from replication.types import InputError

NAMES = {"PNG": "PNG", "JPEG": "JPEG", "WEBP": "WebP"}  # by Pillow's name of the format
SUFFIXES = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "WEBP": (".webp",)}
OTHERS = (
    ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif", ".heic", ".heif", ".jxl", ".tga",
    ".apng", ".exr", ".dng", ".cr2", ".nef", ".arw", ".psd",
)  # fmt: skip
MOST_PIXELS = 1 << 26  # ImageNet's largest image has 61 million; beyond that a small file is one that fills the memory
MOST_BYTES = 4 * MOST_PIXELS  # of a file in an archive, which may be packed a thousand times smaller
ORIENTATION = 0x0112  # of EXIF
SHOWN = 3  # names of files that were not read
DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError, AttributeError, RuntimeError,
    MemoryError, struct.error, zlib.error, TokenError,
)  # fmt: skip  # what Pillow, numpy and zipfile raise for content that is spoilt
Prepared = Literal[
    "crop, bicubic", "crop, lanczos", "bilinear, crop", "celeba crop, bilinear", "box halving, bicubic, crop"
]
WHOLE: Literal["bilinear, whole"] = "bilinear, whole"
Stored = Literal[Prepared, "bilinear, whole"]
# "none": the dataset's own pixels, at the one resolution that it has
Preprocessing = Literal["none", Prepared]
ALIGNED_CELEBA = (178, 218)  # width, height
FACE = (89 - 64, 121 - 64, 89 + 64, 121 + 64)  # left, upper, right, lower


def is_picture(name: str, formats: Sequence[str] = tuple(NAMES)) -> bool:
    """Whether a file of this name is looked at, which hidden ones are not."""
    suffixes = tuple(suffix for format in formats for suffix in SUFFIXES[format])
    return name.lower().endswith(suffixes) and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether any part of the path is: `.DS_Store`, `._0.png`, `__MACOSX/0.png`."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def refuse_other_formats(where: object, names: Sequence[str], formats: Sequence[str] = tuple(NAMES)) -> None:
    """Raises InputError where there are images of other formats among the files that are not read."""
    wanted = tuple(suffix for format in NAMES if format not in formats for suffix in SUFFIXES[format])
    odd = [name for name in names if name.lower().endswith((*OTHERS, *wanted))]
    if odd:
        kinds = Counter(PurePosixPath(name).suffix.removeprefix(".").upper() for name in odd)
        listed = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
        raise InputError(
            f"{where}: images in other formats than {_either(formats, 'and')} are not read ({listed}; the first is "
            f"{odd[0]}): save them as PNG, or move away what is no part of the set"
        )


def passed_over(names: Sequence[str]) -> str:
    """What was not read, in a sentence; empty for nothing."""
    if not names:
        return ""
    were = "file was" if len(names) == 1 else "files were"
    return f"{len(names):,} {were} not read: {first_of(names)}"


def first_of(names: Sequence[str]) -> str:
    """The first few."""
    return printable(", ".join(names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")


def is_turned(block: bytes) -> bool:
    """Whether an EXIF block says that its photograph is to be shown turned or mirrored; one that is damaged does not."""
    exif = Image.Exif()
    try:
        exif.load(block)
        return exif.get(ORIENTATION, 1) in range(2, 9)
    except DAMAGE:
        return False


def turned(count: int) -> str:
    """What is to be said of so many of these; empty for none."""
    return f"{count:,} have an orientation in EXIF, which is not applied, as in the published code" if count else ""


@contextmanager
def opened_picture(
    source: str | PathLike[str] | IO[bytes], where: str, formats: Sequence[str] = tuple(NAMES)
) -> Iterator[Image.Image]:
    """The picture, whose size and mode are known before a pixel is decoded; `where` begins every message.

    Raises InputError for another format, for what is damaged, even where that shows inside the block only, for too many
    pixels, for an animation, for transparent pixels, whose colour is arbitrary, and for more than 8 bits a channel: Pillow
    cuts 16 bits of colour to 8 without a word.
    """
    try:
        with Image.open(source, formats=tuple(formats)) as picture:
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise InputError(f"{where}: {width}x{height} is more than {MOST_PIXELS:,} pixels")
            if picture.mode.startswith(("I", "F")) or any(";16" in str(tile.args) for tile in picture.tile):
                raise InputError(f"{where}: mode {picture.mode} has more than 8 bits for each channel")
            # a camera's MPO holds previews behind its photograph
            if picture.format != "MPO" and (frames := getattr(picture, "n_frames", 1)) > 1:
                raise InputError(
                    f"{where}: an animation of {frames} images; save those that belong to the set one by one"
                )
            if picture.has_transparency_data and picture.convert("RGBA").getchannel("A").getextrema()[0] != 255:
                reason = "what it shows is a choice: flatten it onto a background first"
                raise InputError(f"{where}: mode {picture.mode} with transparent pixels; {reason}")
            yield picture
    except Image.DecompressionBombError as error:
        raise InputError(f"{where}: more than {MOST_PIXELS:,} pixels ({error})") from error
    except UnidentifiedImageError as error:  # which names an address in memory
        kind = kind_of(_beginning(source))
        reason = f"its content is {kind}" if kind else "its content is of another kind, or damaged"
        raise InputError(f"{where}: not a readable {_either(formats, 'or')} image ({reason})") from error
    except DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{where}: not a readable {_either(formats, 'or')} image ({reason})") from error


def _either(formats: Sequence[str], word: str) -> str:
    *others, last = (NAMES[name] for name in formats)
    return f"{', '.join(others)} {word} {last}"


def _beginning(source: str | PathLike[str] | IO[bytes]) -> bytes:
    if isinstance(source, str | PathLike):
        with open(source, "rb") as file:
            return file.read(64)
    source.seek(0)
    return source.read(64)


def prepared(image: Image.Image, resolution: int, preprocessing: Prepared) -> np.ndarray:
    """The square, uint8 [resolution,resolution,3], of an RGB image whose shorter side is no smaller than that.

    Raises InputError for CelebA's crop of an image that is not 178 pixels wide and 218 high.
    """
    square = (resolution, resolution)
    if preprocessing == "crop, bicubic":
        return np.asarray(_centred(image, min(image.size)).resize(square, Image.Resampling.BICUBIC))
    if preprocessing == "crop, lanczos":
        return np.asarray(_centred(image, min(image.size)).resize(square, Image.Resampling.LANCZOS))
    if preprocessing == "celeba crop, bilinear":
        if image.size != ALIGNED_CELEBA:
            raise InputError(f"{preprocessing!r}: the image is {image.width}x{image.height}, aligned CelebA is 178x218")
        return np.asarray(image.crop(FACE).resize(square, Image.Resampling.BILINEAR))
    if preprocessing == "bilinear, crop":
        return np.asarray(_centred(Image.fromarray(to_shorter_side(image, resolution)), resolution))
    while min(image.size) >= 2 * resolution:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    return np.asarray(_centred(image.resize(_scaled(image, resolution), Image.Resampling.BICUBIC), resolution))


def to_shorter_side(image: Image.Image, side: int) -> np.ndarray:
    """uint8 [h,w,3] with a shorter side of that length, by OpenCV's bilinear filter: the four nearest pixels, no average."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    resized = interpolate(pixels, _scaled(image, side)[::-1], mode="bilinear", align_corners=False)
    return np.asarray(resized[0].round().byte().permute(1, 2, 0))


def _scaled(image: Image.Image, shorter: int) -> tuple[int, int]:
    """(width, height) of the image with that shorter side."""
    factor = shorter / min(image.size)
    return round(image.width * factor), round(image.height * factor)


def _centred(image: Image.Image, side: int) -> Image.Image:
    """The square in the middle; an odd pixel over is cut off at the right or the bottom."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))
