"""What storing and resizing do to images: uint8 in, uint8 out, image by image.

png is lossless, hence nothing at all. JPEG is Pillow's, with its default of halved chroma. A resize goes to twice the
size and back with one filter, as a reference set does that was prepared at another resolution than the samples.
"""

import io
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

from replication.registry import unknown

FILTERS = {"bilinear": Resampling.BILINEAR, "bicubic": Resampling.BICUBIC, "box": Resampling.BOX}
INCEPTION_SIDE = 299


def _jpeg(quality: int, picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=quality)
    return Image.open(buffer)


def _there_and_back(filter: Resampling, picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.resize((2 * width, 2 * height), filter).resize((width, height), filter)


def _to_inception(picture: Image.Image) -> Image.Image:
    """clean-fid's resize, antialiased where it shrinks; it keeps floats, while these are rounded to uint8."""
    return picture.resize((INCEPTION_SIDE, INCEPTION_SIDE), Resampling.BICUBIC)


TREATMENTS: dict[str, Callable[[Image.Image], Image.Image] | None] = {
    "png": None,
    **{f"jpeg-{quality}": partial(_jpeg, quality) for quality in (75, 95)},
    **{f"resize-{name}": partial(_there_and_back, filter) for name, filter in FILTERS.items()},
    "pil-bicubic": _to_inception,
}


def treated(images: Tensor, names: tuple[str, ...], chunk: int) -> Iterator[Tensor]:
    """uint8 [N,C,H,W] in chunks of at most `chunk`, each image through the named treatments in turn.

    Raises InputError for an unknown name.
    """
    for name in names:
        if name not in TREATMENTS:
            raise unknown("treatment", name, list(TREATMENTS))
    steps = [step for name in names if (step := TREATMENTS[name])]
    for piece in images.split(chunk):
        yield torch.stack([_through(image, steps) for image in piece]) if steps else piece


def _through(image: Tensor, steps: list[Callable[[Image.Image], Image.Image]]) -> Tensor:
    pixels = image.permute(1, 2, 0).numpy()  # [H,W,C]
    picture = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    for step in steps:
        picture = step(picture)
    found = np.array(picture).reshape(picture.height, picture.width, -1)
    return torch.from_numpy(found).permute(2, 0, 1)
