"""DiT, the diffusion transformer: Peebles and Xie 2023, section 3.

Attention is fused (scaled_dot_product_attention). Initial weights are the official code's: xavier-uniform, normal(0.02)
in the embedders, and 0 where adaLN-Zero and the last layer say so; the output of a new network is 0.
"""

import torch
from torch import Tensor, nn

from replication.dit.adaln_block import AdaLNBlock, AdaLNZeroBlock
from replication.dit.cross_attention_block import CrossAttentionBlock
from replication.dit.embedders import LabelEmbedder, TimestepEmbedder
from replication.dit.final_layer import FinalLayer
from replication.dit.patches import PatchEmbedding, unpatchify
from replication.dit.plain_block import PlainBlock
from replication.layers.encoder import Conditional
from replication.registry import unknown

BLOCKS: dict[str, type[nn.Module]] = {
    "adaln-zero": AdaLNZeroBlock,
    "adaln": AdaLNBlock,
    "cross-attention": CrossAttentionBlock,
    "in-context": PlainBlock,
}


class DiT(Conditional):
    """`network(x [B,C,H,W], timestep [B], cond Int[B]) -> [B,2C,H,W]`, or [B,C,H,W] without learned_variance.

    The second C channels are about the variance. resolution: the side H = W of the (latent) image. cond is a label of
    0..classes-1, and `classes` itself says nothing, or what `encode` makes of labels, Float[B,width]; with classes = 0 the
    network is told the time alone.

    Raises InputError for an unknown block, sizes that don't fit each other, an image of another size, a missing label,
    and one out of range.
    """

    version = 1

    def __init__(
        self,
        resolution: int,
        channels: int,
        patch: int,
        depth: int,
        width: int,
        heads: int,
        classes: int = 1000,
        learned_variance: bool = True,
        block: str = "adaln-zero",
        qk_norm: bool = False,
    ):
        super().__init__()
        if block not in BLOCKS:
            raise unknown("block", block, list(BLOCKS))
        self.resolution, self.in_channels, self.patch = resolution, channels, patch
        self.depth, self.width, self.heads, self.block, self.qk_norm = depth, width, heads, block, qk_norm
        self.out_channels = channels * (2 if learned_variance else 1)
        self.patches = PatchEmbedding(resolution, channels, patch, width)
        self.timestep = TimestepEmbedder(width)
        self.label = LabelEmbedder(classes, width) if classes else None
        self.blocks = nn.ModuleList(BLOCKS[block](width, heads, qk_norm) for _ in range(depth))
        self.final = FinalLayer(width, patch * patch * self.out_channels, modulated=block.startswith("adaln"))
        initialise(self)

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        told = self._told(timestep, cond)
        h = self.patches(x)
        if self.block == "in-context":
            h = torch.cat([h, told], dim=1)
        for block in self.blocks:
            h = block(h, told)
        return unpatchify(self.final(h[:, : self.tokens], told), self.patch)

    def _told(self, timestep: Tensor, cond: Tensor | None) -> Tensor:
        """The embedded time and, if there is one, label: [B,2,width] or [B,1,width]."""
        vectors, said = [self.timestep(timestep)], self.said(cond)
        return torch.stack(vectors if said is None else [*vectors, said], dim=1)

    @property
    def encoder(self) -> LabelEmbedder | None:
        return self.label

    @property
    def tokens(self) -> int:
        """Patches of an image."""
        return (self.resolution // self.patch) ** 2


def initialise(network: nn.Module) -> None:
    """Xavier-uniform in every linear layer, biases 0; then what a part says of itself by a method of that name."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for module in network.modules():
        own = getattr(module, "initialise", None)
        if own is not None:
            own()
