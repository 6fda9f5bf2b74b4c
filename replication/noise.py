"""Noise that belongs to images, not to batches: a counter-based generator, Philox-4x32-10.

Every number is a pure function of (seed, image index, draw, element), so image i gets the same noise at any batch
size, in any order, in any process, on any device. Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3",
section 3.3; normals by Box-Muller (1958). PyTorch's own generators are sequential, and differ between CPU and CUDA.

Images hang on every number here: another one raises VERSION of diffusion/sampling.py.
"""

import hashlib
import math
import operator
from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from torch import Tensor

from replication.acceleration import Compiled, Policy, Replayed
from replication.types import SEEDS, InputError

_WORD = 0xFFFFFFFF
_MULTIPLIER = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(counter: Sequence[Tensor], key: Sequence[Tensor | int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four 32-bit words per counter. `counter`: four int64 tensors that broadcast together, each below 2^32; key: two words."""
    c0, c1, c2, c3 = (c.clone() for c in torch.broadcast_tensors(*counter))
    k0, k1 = key
    for _ in range(10):
        # int64 products wrap modulo 2^64, and the mask after the (arithmetic) shift leaves the right upper word; lower
        # words keep their upper bits for now, since a mask follows wherever they go
        p0, p1 = c0.mul_(_MULTIPLIER[0]), c2.mul_(_MULTIPLIER[1])
        c0 = (p1 >> 32).bitwise_xor_(c1).bitwise_xor_(k0).bitwise_and_(_WORD)
        c2 = (p0 >> 32).bitwise_xor_(c3).bitwise_xor_(k1).bitwise_and_(_WORD)
        c1, c3 = p1, p0
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return c0, c1.bitwise_and_(_WORD), c2, c3.bitwise_and_(_WORD)


def standard_normals(images: Tensor, draws: Tensor, key: Tensor, size: int) -> Tensor:
    """images, draws: Int[B,1]; key: Int[2] -> Float[B,size]: numbers 0..size-1 of each image's draw."""
    block = torch.arange((size + 3) // 4, device=images.device)[None]  # four words for each counter
    words = philox((block, draws, images & _WORD, images >> 32), key.unbind())
    uniform = [(w.double() + 0.5) * 2.0**-32 for w in words]  # the open interval: no log(0)
    normals = []
    for radius, angle in ((uniform[0], uniform[1]), (uniform[2], uniform[3])):
        radius = radius.log_().mul_(-2.0).sqrt_()
        angle = angle.mul_(2.0 * math.pi)
        normals += [radius * angle.cos(), radius * angle.sin()]
    return torch.stack(normals, dim=-1).flatten(1)[:, :size].float()


# as they are, its hundred small kernels cost as much as a small network
_compiled_normals = cache(partial(Compiled, standard_normals, torch.float64, dynamic=True))
_replayed_normals = cache(partial(Replayed, standard_normals))


def _normals_on(device: torch.device) -> Callable[..., Tensor]:
    if Policy.compiles_on(device):
        return _compiled_normals()
    return _replayed_normals() if Policy.replays_on(device) else standard_normals


class ImageNoise:
    """Standard normal noise for the images `indices: Int[B]` of the sample set with this seed.

    `noise(draw, shape)` is the contract that `sample` asks for: draw is the step's number, shape is (B,C,H,W).
    `noise.prior(shape)` is the draw that x_T is made from, apart from every step's. Raises InputError for a seed outside
    0..2^64-1, whose noise would be that of another one.
    """

    PRIOR, LABEL = _WORD, _WORD - 1  # draws of their own: no sampler takes 2^32 - 2 steps

    def __init__(self, seed: int, indices: Tensor, device: torch.device | str = "cpu"):
        seed = operator.index(seed)
        if not 0 <= seed < SEEDS:
            raise InputError(f"seed {seed}: a seed is a whole number from 0 to 2^64 - 1")
        self.indices = indices.to(device=device, dtype=torch.int64)[:, None]
        self.key = torch.tensor([seed & _WORD, seed >> 32], device=self.indices.device)
        self._normals = _normals_on(self.indices.device)

    def __call__(self, draw: int, shape: Sequence[int]) -> Tensor:
        if shape[0] != len(self.indices):
            raise ValueError(f"asked for noise of {shape[0]} images, but it belongs to {len(self.indices)}")
        draws = torch.full_like(self.indices, draw)
        return self._normals(self.indices, draws, self.key, math.prod(shape[1:])).reshape(*shape)

    def integers(self, below: int) -> Tensor:
        """One number of 0..below-1 per image, all equally likely, Int[B]."""
        zero = torch.zeros_like(self.indices)
        word = philox((zero, zero + self.LABEL, self.indices & _WORD, self.indices >> 32), self.key.unbind())[0]
        return word[:, 0] * below >> 32

    def prior(self, shape: Sequence[int]) -> Tensor:
        """The unit-variance noise that x_T is scaled from, Float[B,C,H,W]."""
        return self(self.PRIOR, shape)


def stream_seed(*parts: int | str) -> int:
    """A 63-bit seed for the named stream, e.g. ("training", seed, step): streams don't overlap, whatever their seeds."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1
