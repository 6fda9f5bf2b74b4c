"""Pixels as networks see them, in [-1, 1], and as files hold them, uint8 in 0..255: the one place that converts them."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from replication.registry import one_of

Array = TypeVar("Array", Tensor, np.ndarray)
GREY = 127.5  # grey levels per unit of [-1, 1]

VERSION = 1  # of the rules below and of their limits: raised when any of them gives another level
QUANTIZERS: dict[str, Callable[[Tensor], Tensor]] = {
    "round": lambda x: (to_levels(x) + 0.5).floor(),  # EDM, DiT, torchvision's save_image
    "truncate": lambda x: to_levels(x).floor(),  # IDDPM, LDM
}


def to_signed(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8, or any levels in 0..255 -> [-1, 1] in the floating type asked for."""
    return images.to(dtype) / GREY - 1


def to_levels(x: Array) -> Array:
    """[-1, 1] -> 0..255, neither rounded nor clipped: the inverse of `to_signed`, of a tensor or an array."""
    return (x + 1) * GREY


def quantize(x: Tensor, quantizer: str) -> Tensor:
    """[-1, 1] -> uint8 by the named rule; half a grey level lies between the two. InputError for another name."""
    return QUANTIZERS[one_of("quantizer", quantizer, QUANTIZERS)](x).clamp(0, 255).to(torch.uint8)
