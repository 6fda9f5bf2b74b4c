"""The published sizes of DiT, S, B, L and XL with patches of 8, 4 and 2 (Peebles and Xie 2023, Table 1), and any other."""

from replication.dit.model import DiT
from replication.registry import MODELS

SIZES = {  # depth, width, heads
    "s": (12, 384, 6),
    "b": (12, 768, 12),
    "l": (24, 1024, 16),
    "xl": (28, 1152, 16),
}
PATCHES = (8, 4, 2)


@MODELS.register("dit")
def dit(
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
) -> DiT:
    """A DiT of any size; block is adaln-zero, adaln, cross-attention or in-context."""
    return DiT(resolution, channels, patch, depth, width, heads, classes, learned_variance, block, qk_norm)


def _preset(size: str, patch: int) -> None:
    depth, width, heads = SIZES[size]

    def build(
        channels: int = 4,
        resolution: int = 32,
        classes: int = 1000,
        learned_variance: bool = True,
        block: str = "adaln-zero",
        qk_norm: bool = False,
    ) -> DiT:
        return dit(depth, width, heads, patch, channels, resolution, classes, learned_variance, block, qk_norm)

    build.__doc__ = (
        f"DiT-{size.upper()}/{patch}: {depth} blocks of width {width} with {heads} heads, patches of {patch}."
    )
    MODELS.register(f"dit-{size}/{patch}")(build)


for _size in SIZES:
    for _patch in PATCHES:
        _preset(_size, _patch)
