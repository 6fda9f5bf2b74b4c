"""How a photograph of any size becomes a square of the model's resolution: the named ways of the published code.

    crop, bicubic                the largest centred square, then one PIL bicubic resize: LDM's LSUN loader
                                 (CompVis/latent-diffusion, ldm/data/lsun.py)
    box halving, bicubic, crop   halved by box averages while the shorter side has twice the pixels or more, then PIL
                                 bicubic to that side, then the centred square: ADM, and DiT after it (train.py)

A square that has the resolution already is what it was under either name. Neither reads EXIF orientation, as neither
code does. PIL's bicubic filter widens with the factor (it averages), OpenCV's does not: the two give different pixels.
"""

from typing import Literal

import numpy as np
from PIL import Image

Prepared = Literal["crop, bicubic", "box halving, bicubic, crop"]
# "none": the dataset's own pixels, at the one resolution that it has
Preprocessing = Literal["none", Prepared]


def prepared(image: Image.Image, resolution: int, preprocessing: Prepared) -> np.ndarray:
    """The square, uint8 [resolution,resolution,3], of an RGB image whose shorter side is no smaller than that."""
    bicubic = Image.Resampling.BICUBIC
    if preprocessing == "crop, bicubic":
        return np.asarray(_centred(image, min(image.size)).resize((resolution, resolution), bicubic))
    while min(image.size) >= 2 * resolution:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    factor = resolution / min(image.size)
    size = round(image.width * factor), round(image.height * factor)
    return np.asarray(_centred(image.resize(size, bicubic), resolution))


def _centred(image: Image.Image, side: int) -> Image.Image:
    """The square in the middle; an odd pixel over is cut off at the right or the bottom."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))
