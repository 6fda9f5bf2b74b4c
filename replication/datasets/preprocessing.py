"""How a photograph of any size becomes a square of the model's resolution: the named ways of the published code.

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

from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from replication.types import InputError

Prepared = Literal[
    "crop, bicubic", "crop, lanczos", "bilinear, crop", "celeba crop, bilinear", "box halving, bicubic, crop"
]
WHOLE: Literal["bilinear, whole"] = "bilinear, whole"
Stored = Literal[Prepared, "bilinear, whole"]
# "none": the dataset's own pixels, at the one resolution that it has
Preprocessing = Literal["none", Prepared]
ALIGNED_CELEBA = (178, 218)  # width, height
FACE = (89 - 64, 121 - 64, 89 + 64, 121 + 64)  # left, upper, right, lower


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
