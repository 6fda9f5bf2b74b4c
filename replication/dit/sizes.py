"""The published sizes of DiT, S, B, L and XL with patches of 8, 4 and 2: Peebles and Xie 2023, Table 1."""

from collections.abc import Callable

from replication.dit.model import DiT
from replication.registry import MODELS

SIZES = {  # depth, width, heads
    "S": (12, 384, 6),
    "B": (12, 768, 12),
    "L": (24, 1024, 16),
    "XL": (28, 1152, 16),
}


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


MODELS.register("dit-s/8", summary="12 blocks of width 384, 6 heads (Peebles and Xie 2023, Table 1).")(sized("S", 8))
MODELS.register("dit-s/4", summary="12 blocks of width 384, 6 heads (Peebles and Xie 2023, Table 1).")(sized("S", 4))
MODELS.register("dit-s/2", summary="12 blocks of width 384, 6 heads (Peebles and Xie 2023, Table 1).")(sized("S", 2))
MODELS.register("dit-b/8", summary="12 blocks of width 768, 12 heads (Peebles and Xie 2023, Table 1).")(sized("B", 8))
MODELS.register("dit-b/4", summary="12 blocks of width 768, 12 heads (Peebles and Xie 2023, Table 1).")(sized("B", 4))
MODELS.register("dit-b/2", summary="12 blocks of width 768, 12 heads (Peebles and Xie 2023, Table 1).")(sized("B", 2))
MODELS.register("dit-l/8", summary="24 blocks of width 1024, 16 heads (Peebles and Xie 2023, Table 1).")(sized("L", 8))
MODELS.register("dit-l/4", summary="24 blocks of width 1024, 16 heads (Peebles and Xie 2023, Table 1).")(sized("L", 4))
MODELS.register("dit-l/2", summary="24 blocks of width 1024, 16 heads (Peebles and Xie 2023, Table 1).")(sized("L", 2))
MODELS.register("dit-xl/8", summary="28 blocks of width 1152, 16 heads (Peebles and Xie 2023, Table 1).")(
    sized("XL", 8)
)
MODELS.register("dit-xl/4", summary="28 blocks of width 1152, 16 heads (Peebles and Xie 2023, Table 1).")(
    sized("XL", 4)
)
MODELS.register("dit-xl/2", summary="28 blocks of width 1152, 16 heads (Peebles and Xie 2023, Table 1).")(
    sized("XL", 2)
)
