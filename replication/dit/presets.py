"""The published sizes of DiT, S, B, L and XL with patches of 8, 4 and 2 (Peebles and Xie 2023, Table 1), and any other."""

from collections.abc import Callable

from replication.dit.model import DiT
from replication.registry import MODELS


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
    """A DiT of any size (Peebles and Xie 2023); block: adaln-zero, adaln, cross-attention or in-context."""
    return DiT(resolution, channels, patch, depth, width, heads, classes, learned_variance, block, qk_norm)


def _preset(depth: int, width: int, heads: int, patch: int) -> Callable[..., DiT]:
    def build(
        channels: int = 4,
        resolution: int = 32,
        classes: int = 1000,
        learned_variance: bool = True,
        block: str = "adaln-zero",
        qk_norm: bool = False,
    ) -> DiT:
        return dit(depth, width, heads, patch, channels, resolution, classes, learned_variance, block, qk_norm)

    return build


MODELS.register(
    "dit-s/8", summary="DiT-S/8 (Peebles and Xie 2023, Table 1): 12 blocks of width 384, 6 heads, patches of 8."
)(_preset(12, 384, 6, 8))
MODELS.register(
    "dit-s/4", summary="DiT-S/4 (Peebles and Xie 2023, Table 1): 12 blocks of width 384, 6 heads, patches of 4."
)(_preset(12, 384, 6, 4))
MODELS.register(
    "dit-s/2", summary="DiT-S/2 (Peebles and Xie 2023, Table 1): 12 blocks of width 384, 6 heads, patches of 2."
)(_preset(12, 384, 6, 2))
MODELS.register(
    "dit-b/8", summary="DiT-B/8 (Peebles and Xie 2023, Table 1): 12 blocks of width 768, 12 heads, patches of 8."
)(_preset(12, 768, 12, 8))
MODELS.register(
    "dit-b/4", summary="DiT-B/4 (Peebles and Xie 2023, Table 1): 12 blocks of width 768, 12 heads, patches of 4."
)(_preset(12, 768, 12, 4))
MODELS.register(
    "dit-b/2", summary="DiT-B/2 (Peebles and Xie 2023, Table 1): 12 blocks of width 768, 12 heads, patches of 2."
)(_preset(12, 768, 12, 2))
MODELS.register(
    "dit-l/8", summary="DiT-L/8 (Peebles and Xie 2023, Table 1): 24 blocks of width 1024, 16 heads, patches of 8."
)(_preset(24, 1024, 16, 8))
MODELS.register(
    "dit-l/4", summary="DiT-L/4 (Peebles and Xie 2023, Table 1): 24 blocks of width 1024, 16 heads, patches of 4."
)(_preset(24, 1024, 16, 4))
MODELS.register(
    "dit-l/2", summary="DiT-L/2 (Peebles and Xie 2023, Table 1): 24 blocks of width 1024, 16 heads, patches of 2."
)(_preset(24, 1024, 16, 2))
MODELS.register(
    "dit-xl/8", summary="DiT-XL/8 (Peebles and Xie 2023, Table 1): 28 blocks of width 1152, 16 heads, patches of 8."
)(_preset(28, 1152, 16, 8))
MODELS.register(
    "dit-xl/4", summary="DiT-XL/4 (Peebles and Xie 2023, Table 1): 28 blocks of width 1152, 16 heads, patches of 4."
)(_preset(28, 1152, 16, 4))
MODELS.register(
    "dit-xl/2", summary="DiT-XL/2 (Peebles and Xie 2023, Table 1): 28 blocks of width 1152, 16 heads, patches of 2."
)(_preset(28, 1152, 16, 2))
