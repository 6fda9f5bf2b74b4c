"""The way from an image to a transformer of one size, as the authors of FD-DINOv2 and of CMMD go it.

Both resize 8-bit images with Pillow's bicubic filter (a = -1/2, stretched where the image shrinks, so that nothing
aliases) and divide by the standard deviations of the network's training images. torch-fidelity's extractors resize as
TensorFlow 1 did, bilinearly and without a filter: their distances are others.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def pillow_bicubic(images: Tensor, side: int) -> Tensor:
    """uint8 [B,C,H,W] -> float32 [B,C,side,side] of whole levels 0..255: rows first, then columns, each rounded to 8 bits."""
    x = images.float()
    for size in ((x.shape[2], side), (side, side)):
        if x.shape[2:] != size:
            x = (F.interpolate(x, size, mode="bicubic", antialias=True) + 0.5).floor().clamp(0, 255)
    return x


class OfOneSize(nn.Module):
    """uint8 [B,3,H,W] -> the network's features of the image at `side` pixels, normalised by channel: a tuple of [B,D]."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, side: int, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.network, self.side = network, side
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.network((pillow_bicubic(images, self.side) / 255 - self.mean) / self.std),)
