"""An image as a sequence of patches, and back: Peebles and Xie 2023, section 3.2 ("Patchify" and its inverse)."""

import math

from torch import Tensor, nn

from replication.dit.positions import sincos_positions
from replication.types import InputError


class PatchEmbedding(nn.Module):
    """[B,C,H,W] -> [B,N,width], N = (resolution / patch)^2 patches, row by row, with their positions added.

    Raises InputError if the patch does not divide the resolution, if the positions need another width, and for an image
    of another size than the positions.
    """

    positions: Tensor

    def __init__(self, resolution: int, channels: int, patch: int, width: int):
        super().__init__()
        if patch < 1 or resolution % patch:
            near = ", ".join(str(p) for p in range(1, resolution + 1) if resolution % p == 0)
            raise InputError(f"patch = {patch} does not divide images of resolution = {resolution} (valid: {near})")
        if width % 4:
            raise InputError(f"width = {width} must be a multiple of 4: sines and cosines of two coordinates share it")
        self.resolution, self.channels = resolution, channels
        self.project = nn.Conv2d(channels, width, patch, stride=patch)
        # a function of the sizes, so no checkpoint holds it
        self.register_buffer("positions", sincos_positions(resolution // patch, width), persistent=False)

    def initialise(self) -> None:
        """Xavier-uniform as the linear map of C * patch^2 numbers that it is, not as a convolution."""
        nn.init.xavier_uniform_(self.project.weight.data.flatten(1))
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        expected = (self.channels, self.resolution, self.resolution)
        if x.shape[1:] != expected:
            raise InputError(f"this network's positions are for images {expected}, not {tuple(x.shape[1:])}")
        tokens: Tensor = self.project(x).flatten(2).transpose(1, 2)
        # in the order of a sequence: the sum keeps the order of its terms, and every block would copy it anew
        return tokens.contiguous() + self.positions


def unpatchify(tokens: Tensor, patch: int) -> Tensor:
    """[B,N,patch*patch*C] -> [B,C,H,W]: row, column and channel of a pixel within its patch, the channel fastest."""
    side = math.isqrt(tokens.shape[1])
    image = tokens.unflatten(2, (patch, patch, -1)).unflatten(1, (side, side))  # [B,side,side,patch,patch,C]
    return image.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
