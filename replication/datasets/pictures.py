"""Picture files: one opened in one way everywhere, so that nothing is read whose content would be lost without a word."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import IO

from PIL import Image

from replication.types import InputError

NAMES = {
    "PNG": "PNG",
    "JPEG": "JPEG",
    "WEBP": "WebP",
}  # by Pillow's name of the format; the file's own name plays no part
MOST_PIXELS = 1 << 26  # ImageNet's largest image has 61 million; beyond that a small file is one that fills the memory


@contextmanager
def opened_picture(
    source: str | PathLike[str] | IO[bytes], where: str, formats: tuple[str, ...] = tuple(NAMES)
) -> Iterator[Image.Image]:
    """The picture, whose size and mode are known before a pixel is decoded; `where` begins every message.

    Raises InputError for another format, for what is damaged, even where that shows inside the block only, for too many
    pixels, and for more than 8 bits a channel: Pillow cuts 16 bits of colour to 8 without a word.
    """
    *others, last = (NAMES[name] for name in formats)
    try:
        with Image.open(source, formats=formats) as picture:
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise InputError(f"{where}: {width}x{height} is more than {MOST_PIXELS:,} pixels")
            if picture.mode.startswith(("I", "F")) or any(";16" in str(tile.args) for tile in picture.tile):
                raise InputError(f"{where}: mode {picture.mode} has more than 8 bits for each channel")
            yield picture
    except Image.DecompressionBombError as error:
        raise InputError(f"{where}: more than {MOST_PIXELS:,} pixels ({error})") from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error, zlib.error) as error:
        raise InputError(f"{where}: not a readable {', '.join(others)} or {last} image ({error})") from error
