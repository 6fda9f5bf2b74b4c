"""3x3 convolutions by Winograd's algorithm with a quarter of the multiplications: F(4x4, 3x3) of Lavin and Gray 2016.

The input transform makes 36 numbers of the 6x6 pixels in and around each tile of 4x4. For each of the 36 the convolution is one
product of matrices, over the channels, and the output transform makes tiles of these. Transforms cost less than they save where
channels are many.
"""

import math
from functools import cache

import numpy as np
import torch
from numpy.polynomial import polynomial
from torch import Tensor, nn

from replication.layers.on_cpu import Kept, evaluates, is_fixed

TILE, KERNEL = 4, 3
EDGE = TILE + KERNEL - 1  # of the pixels that a tile is computed from
# Where polynomials are evaluated, besides infinity. Rounding errs by 1.1e-6 of the answer with these and 128 channels, by
# 2.5e-6 with the usual 0, 1, -1, 2 and -2, and by 2e-7 to 6e-7 in a direct convolution.
POINTS = (0.0, 2 / 3, -2 / 3, 3 / 2, -3 / 2)
# Channels from which on it pays. On a Xeon with AVX512 it takes 0.4 to 0.7 times as long for 128 and 256, and on two threads
# up to 1.3 times as long for 64. In training, where weights are transformed at every step, and for the gradient again, a step
# of a U-Net with 64 to 128 channels took 0.97 to 1.05 times as long.
MANY = 128
AT_ONCE = 3 << 20  # bytes of transformed pixels at a time, so that they stay in the processor's cache


class Convolution(nn.Conv2d):
    """PyTorch's own, 3x3 with a border of zeros; by Winograd's algorithm where that pays, on the CPU in evaluations."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__(c_in, c_out, KERNEL, padding=1)
        self.kept = Kept(transformed_weights, EDGE**2 / KERNEL**2 if min(c_in, c_out) >= MANY else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        pays = min(self.in_channels, self.out_channels) >= MANY and is_fixed(self.weight)
        if pays and evaluates(x) and is_tiled(x):
            return winograd(x, self.kept.of(self.weight), self.bias)
        return super().forward(x)


def is_tiled(x: Tensor) -> bool:
    """Whether tiles cover [B,C,H,W], in channels_last: other answers would change the order of what is drawn in their like."""
    covered = len(x) > 0 and not (x.shape[2] % TILE or x.shape[3] % TILE)
    return covered and x.is_contiguous(memory_format=torch.channels_last)


def winograd(x: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    """Float32[B,C,H,W] that is_tiled, transformed_weights, [O] -> [B,O,H,W] likewise, x with zeros around it convolved."""
    (images, c_in, height, width), c_out = x.shape, weights.shape[2]
    rows, columns = height // TILE, width // TILE
    of_row = weights.element_size() * EDGE**2 * columns * max(c_in, c_out)
    some_rows = _part(rows, AT_ONCE // of_row)
    some = _part(images, AT_ONCE // (of_row * rows)) if some_rows == rows else 1
    forth, _, back = transforms()
    around = x.new_zeros(some, TILE * some_rows + 2, width + 2, c_in)
    of_image, of_line, of_pixel, _ = around.stride()
    edges = around.as_strided(
        (EDGE, EDGE, some, some_rows, columns, c_in),
        (of_line, of_pixel, of_image, TILE * of_line, TILE * of_pixel, 1),
    )
    gathered, transformed = (x.new_empty(edges.shape) for _ in range(2))
    products = x.new_empty(EDGE**2, some * some_rows * columns, c_out)
    tiles = x.new_empty(TILE, TILE, some, some_rows, columns, c_out)
    answer = x.new_empty(images, rows, TILE, columns, TILE, c_out)
    by_pixel = x.permute(0, 2, 3, 1)
    for image in range(0, images, some):
        for row in range(0, rows, some_rows):
            image, row = min(image, images - some), min(row, rows - some_rows)  # the last parts overlap
            top, bottom = TILE * row - 1, TILE * (row + some_rows) + 1
            first, end = max(top, 0), min(bottom, height)
            around[:, : first - top] = 0
            around[:, end - top :] = 0
            around[:, first - top : end - top, 1:-1] = by_pixel[image : image + some, first:end]
            gathered.copy_(edges)
            torch.mm(forth, gathered.view(EDGE**2, -1), out=transformed.view(EDGE**2, -1))
            torch.bmm(transformed.view(EDGE**2, -1, c_in), weights, out=products)
            torch.mm(back, products.view(EDGE**2, -1), out=tiles.view(TILE**2, -1))
            part = answer[image : image + some, row : row + some_rows]
            torch.add(tiles.permute(2, 3, 0, 4, 1, 5), 0 if bias is None else bias, out=part)
    return answer.view(images, height, width, c_out).permute(0, 3, 1, 2)


def transformed_weights(weight: Tensor) -> Tensor:
    """Float32[O,C,3,3] -> [36,C,O]."""
    _, kernel, _ = transforms()
    return (kernel @ weight.permute(2, 3, 1, 0).flatten(2).flatten(0, 1)).unflatten(1, weight.shape[1::-1])


@cache
def transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Of the input, [36,36], of a kernel, [36,9], and of the output, [16,36], in both directions of the image at once.

    Lavin and Gray's B^T, G and A^T for any POINTS, by Toom and Cook: the product of two polynomials from their values at
    these points, transposed.
    """
    forth, kernel, back = np.zeros((EDGE, EDGE)), np.zeros((EDGE, KERNEL)), np.zeros((TILE, EDGE))
    for i, point in enumerate(POINTS):
        others = POINTS[:i] + POINTS[i + 1 :]
        forth[i, :-1] = polynomial.polyfromroots(others)
        kernel[i] = point ** np.arange(KERNEL) / math.prod(point - other for other in others)
        back[:, i] = point ** np.arange(TILE)
    forth[-1], kernel[-1, -1], back[-1, -1] = polynomial.polyfromroots(POINTS), 1, 1  # at infinity
    of_input, of_kernel, of_output = (torch.from_numpy(np.kron(one, one)).float() for one in (forth, kernel, back))
    return of_input, of_kernel, of_output


def _part(whole: int, at_most: int) -> int:
    """The size of equal parts, but for an overlap, of at most so many and of at least one."""
    parts = math.ceil(whole / max(1, at_most))
    return math.ceil(whole / parts)
