"""DiT, the diffusion transformer, and its published sizes: Peebles and Xie 2023, section 3; its blocks are in blocks.py.

Initial weights are the official code's: xavier-uniform, normal(0.02) in the embedders, and 0 where adaLN-Zero and the
last layer have it; the output of a new network is 0.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from replication.dit.blocks import BLOCKS, EPS, Modulation, modulate, plain_norm
from replication.layers.conditioning import Conditional, LabelEmbedding, timestep_embedding
from replication.layers.linear import Linear
from replication.registry import MODELS, one_of
from replication.types import InputError

FREQUENCIES = 256  # sines and cosines of the timestep, at every size of the network
STD = 0.02  # of the embedders' initial weights
# depth, width, heads: Table 1
SIZES = {"S": (12, 384, 6), "B": (12, 768, 12), "L": (24, 1024, 16), "XL": (28, 1152, 16)}


class VectorEmbedder(nn.Module):
    """Float[B,numbers] -> [B,width] through two layers."""

    def __init__(self, numbers: int, width: int):
        super().__init__()
        self.first, self.second = Linear(numbers, width), Linear(width, width)
        self.activation = nn.SiLU()

    def initialise(self) -> None:
        nn.init.normal_(self.first.weight, std=STD)
        nn.init.normal_(self.second.weight, std=STD)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.second(self.activation(self.first(numbers)))


class TimestepEmbedder(VectorEmbedder):
    """Float[B] -> [B,width]: cosines before sines with divisor half, then two layers."""

    def __init__(self, width: int):
        super().__init__(FREQUENCIES, width)

    def forward(self, timestep: Tensor) -> Tensor:
        return super().forward(timestep_embedding(timestep, FREQUENCIES, cos_first=True))


class LabelEmbedder(LabelEmbedding):
    """Label Int[B] -> Float[B,width]; the null label is `classes`."""

    def initialise(self) -> None:
        nn.init.normal_(self.weight, std=STD)


def sincos_positions(side: int, width: int) -> Tensor:
    """Float[side*side, width] for the patches of a square, row by row; width is a multiple of 4, and nothing is learned.

    The first half of the channels is about the column, the second about the row; each half is sines, then cosines, of
    the index at frequencies 10000^(-i / (width/4)).
    """
    index = torch.arange(side, dtype=torch.float64)
    frequencies = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = index[:, None] * frequencies
    along = torch.cat([angles.sin(), angles.cos()], dim=1)  # [side, width/2]
    column, row = along.expand(side, side, -1), along[:, None].expand(side, side, -1)
    return torch.cat([column, row], dim=2).flatten(0, 1).float()


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


class FinalLayer(nn.Module):
    """x [B,N,width], cond [B,K,width] -> [B,N,outputs]: the last layer norm and a linear map that starts at 0.

    Under the adaLN designs the norm is modulated as in a block; the cross-attention and in-context designs have no vector
    to modulate with, and their published parameter counts leave no room for one.
    """

    def __init__(self, width: int, outputs: int, modulated: bool):
        super().__init__()
        self.modulation = Modulation(width, 2) if modulated else None
        self.norm = plain_norm(width) if modulated else nn.LayerNorm(width, EPS)
        self.project = Linear(width, outputs)

    def initialise(self) -> None:
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        x = self.norm(x)
        if self.modulation is not None:
            shift, scale = self.modulation(cond.sum(dim=1))
            x = modulate(x, shift, scale)
        return self.project(x)


def unpatchify(tokens: Tensor, patch: int) -> Tensor:
    """[B,N,patch*patch*C] -> [B,C,H,W]: row, column and channel of a pixel within its patch, the channel fastest."""
    side = math.isqrt(tokens.shape[1])
    image = tokens.unflatten(2, (patch, patch, -1)).unflatten(1, (side, side))  # [B,side,side,patch,patch,C]
    return image.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


class PatchTransformer(Conditional):
    """What DiT and MM-DiT have in common: an image of H = W = resolution in patches, and the timestep's embedding."""

    def __init__(
        self,
        depth: int,
        width: int,
        heads: int,
        patch: int,
        channels: int,
        resolution: int,
        learned_variance: bool,
        qk_norm: bool,
    ):
        super().__init__()
        self.resolution, self.in_channels, self.patch = resolution, channels, patch
        self.depth, self.width, self.heads, self.qk_norm = depth, width, heads, qk_norm
        self.out_channels = channels * (2 if learned_variance else 1)
        self.patches, self.timestep = PatchEmbedding(resolution, channels, patch, width), TimestepEmbedder(width)
        self.tokens = (resolution // patch) ** 2  # patches of an image


@MODELS.register("dit")
class DiT(PatchTransformer):
    """A DiT of any size (Peebles and Xie 2023); block: adaln-zero, adaln, cross-attention or in-context.

    `network(x [B,C,H,W], timestep [B], cond Int[B]) -> [B,2C,H,W]`, or [B,C,H,W] without learned_variance; the second C
    channels are about the variance. resolution: the side H = W of the (latent) image. cond is a label of 0..classes-1,
    `classes` for the null label, or what `encode` makes of labels, Float[B,width]; with classes = 0 there is no condition
    but the time.

    Raises InputError for an unknown block, sizes that don't fit each other, an image of another size, a missing label,
    and one out of range.
    """

    version = 1

    def __init__(
        self,
        depth: int,
        width: int,
        heads: int,
        patch: int,
        channels: int = 4,
        resolution: int = 32,
        classes: int = 1000,
        learned_variance: bool = True,
        block: str = "adaln-zero",
        qk_norm: bool = False,
    ):
        super().__init__(depth, width, heads, patch, channels, resolution, learned_variance, qk_norm)
        self.block = one_of("block", block, BLOCKS)
        self.label = LabelEmbedder(classes, width) if classes else None
        self.blocks = nn.ModuleList(BLOCKS[block](width, heads, qk_norm) for _ in range(depth))
        self.final = FinalLayer(width, patch * patch * self.out_channels, modulated=block.startswith("adaln"))
        initialise(self)

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        vectors, label = [self.timestep(timestep)], self.embedded(cond)
        embedding = torch.stack(vectors if label is None else [*vectors, label], dim=1)  # [B,K,width], K = 1 or 2
        h = self.patches(x)  # [B,N,width]
        if self.block == "in-context":
            h = torch.cat([h, embedding], dim=1)  # [B,N+K,width]
        for block in self.blocks:
            h = block(h, embedding)
        return unpatchify(self.final(h[:, : self.tokens], embedding), self.patch)

    @property
    def encoder(self) -> LabelEmbedder | None:
        return self.label


def initialise(network: nn.Module) -> None:
    """Xavier-uniform in every linear layer, biases 0; then each part's own `initialise`, where it has one."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for module in network.modules():
        own = getattr(module, "initialise", None)
        if own is not None:
            own()


def sized(size: str, patch: int) -> Callable[..., DiT]:
    """The factory of one size, which leaves everything but the size open."""
    depth, width, heads = SIZES[size]

    def build(
        channels: int = 4,
        resolution: int = 32,
        classes: int = 1000,
        learned_variance: bool = True,
        block: str = "adaln-zero",
        qk_norm: bool = False,
    ) -> DiT:
        return DiT(depth, width, heads, patch, channels, resolution, classes, learned_variance, block, qk_norm)

    return build


MODELS.register("dit-s/8", summary="Depth 12, width 384, 6 heads (Peebles and Xie 2023, Table 1).")(sized("S", 8))
MODELS.register("dit-s/4", summary="Depth 12, width 384, 6 heads (Peebles and Xie 2023, Table 1).")(sized("S", 4))
MODELS.register("dit-s/2", summary="Depth 12, width 384, 6 heads (Peebles and Xie 2023, Table 1).")(sized("S", 2))
MODELS.register("dit-b/8", summary="Depth 12, width 768, 12 heads (Peebles and Xie 2023, Table 1).")(sized("B", 8))
MODELS.register("dit-b/4", summary="Depth 12, width 768, 12 heads (Peebles and Xie 2023, Table 1).")(sized("B", 4))
MODELS.register("dit-b/2", summary="Depth 12, width 768, 12 heads (Peebles and Xie 2023, Table 1).")(sized("B", 2))
MODELS.register("dit-l/8", summary="Depth 24, width 1024, 16 heads (Peebles and Xie 2023, Table 1).")(sized("L", 8))
MODELS.register("dit-l/4", summary="Depth 24, width 1024, 16 heads (Peebles and Xie 2023, Table 1).")(sized("L", 4))
MODELS.register("dit-l/2", summary="Depth 24, width 1024, 16 heads (Peebles and Xie 2023, Table 1).")(sized("L", 2))
MODELS.register("dit-xl/8", summary="Depth 28, width 1152, 16 heads (Peebles and Xie 2023, Table 1).")(sized("XL", 8))
MODELS.register("dit-xl/4", summary="Depth 28, width 1152, 16 heads (Peebles and Xie 2023, Table 1).")(sized("XL", 4))
MODELS.register("dit-xl/2", summary="Depth 28, width 1152, 16 heads (Peebles and Xie 2023, Table 1).")(sized("XL", 2))
