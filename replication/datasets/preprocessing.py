"""How a photograph of any size becomes a square of the model's resolution: the named ways of the published code.

    crop, bicubic                the largest centred square, then one PIL bicubic resize: LDM's LSUN loader
                                 (CompVis/latent-diffusion, ldm/data/lsun.py)
    box halving, bicubic, crop   halved by box averages while the shorter side has twice the pixels or more, then PIL
                                 bicubic to that side, then the centred square: ADM, and DiT after it (train.py)

A square that has the resolution already is what it was under either name. Neither reads EXIF orientation, as neither
code does. PIL's bicubic filter widens with the factor (it averages), OpenCV's does not: the two give different pixels.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from PIL import Image

Prepared = Literal["crop, bicubic", "box halving, bicubic, crop"]
# "none": the dataset's own pixels, at the one resolution that it has
Preprocessing = Literal["none", Prepared]


def prepared(image: Image.Image, resolution: int, preprocessing: Prepared) -> np.ndarray:
    """The square, uint8 [resolution,resolution,3], of an RGB image whose shorter side is no smaller than that."""
    return np.asarray(_WAYS[preprocessing](image, resolution))


def _crop_bicubic(image: Image.Image, resolution: int) -> Image.Image:
    square = _centred(image, min(image.size))
    return square.resize((resolution, resolution), Image.Resampling.BICUBIC)


def _halving_bicubic_crop(image: Image.Image, resolution: int) -> Image.Image:
    while min(image.size) >= 2 * resolution:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    factor = resolution / min(image.size)
    size = round(image.width * factor), round(image.height * factor)
    return _centred(image.resize(size, Image.Resampling.BICUBIC), resolution)


def _centred(image: Image.Image, side: int) -> Image.Image:
    """The square in the middle; an odd pixel over is cut off at the right or the bottom."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


_WAYS: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    "crop, bicubic": _crop_bicubic,
    "box halving, bicubic, crop": _halving_bicubic_crop,
}
