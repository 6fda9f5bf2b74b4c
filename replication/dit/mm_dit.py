"""MM-DiT, a transformer over image and text together: Esser et al. 2024 (Stable Diffusion 3), section 4.

Beyond DiT: the text is a stream of its own (joint_block.py), and the modulation is told the timestep plus the text's
mean, each through two layers. Positions, patches and the final layer are DiT's; the text embedder (text_embedder.py) is
small and trained along, where the paper has three frozen ones. Their positions of images of many sizes are not here.
"""

from typing import cast

from torch import Tensor, nn

from replication.dit.embedders import TimestepEmbedder, VectorEmbedder
from replication.dit.final_layer import FinalLayer
from replication.dit.joint_block import JointBlock
from replication.dit.model import initialise
from replication.dit.patches import PatchEmbedding, unpatchify
from replication.dit.text_embedder import ContextEmbedder, TokenEmbedder
from replication.layers.encoder import Conditional
from replication.registry import MODELS
from replication.types import InputError


@MODELS.register("mm-dit")
class MMDiT(Conditional):
    """MM-DiT, a transformer over image and text together (Esser et al. 2024, section 4).

    `network(x [B,C,H,W], timestep [B], cond) -> [B,2C,H,W]`, or [B,C,H,W] without learned_variance.

    cond: tokens Int[B,length] of 0..vocabulary-1 with 0 for padding, or what `encode` makes of them, Float[B,length+1,width];
    or context Float[B,length,context], which `encode` leaves as it is. One of vocabulary and context says which, the other
    is 0. The second C channels are about the variance, as DiT's are.

    Raises InputError for sizes that don't fit each other, an image or a text of another size, a missing text, and a token
    out of range.
    """

    version = 1

    def __init__(
        self,
        depth: int,
        width: int,
        heads: int,
        patch: int,
        length: int,
        vocabulary: int = 0,
        context: int = 0,
        channels: int = 4,
        resolution: int = 32,
        learned_variance: bool = False,
        qk_norm: bool = True,
    ):
        super().__init__()
        if (vocabulary > 0) == (context > 0):
            raise InputError(
                f"mm-dit reads tokens (vocabulary > 0) or context (context > 0), one of them; "
                f"not vocabulary = {vocabulary} and context = {context}"
            )
        self.resolution, self.in_channels, self.patch = resolution, channels, patch
        self.depth, self.width, self.heads, self.qk_norm = depth, width, heads, qk_norm
        self.out_channels = channels * (2 if learned_variance else 1)
        self.patches = PatchEmbedding(resolution, channels, patch, width)
        self.timestep, self.pooled = TimestepEmbedder(width), VectorEmbedder(width, width)
        self.text = TokenEmbedder(vocabulary, length, width) if vocabulary else ContextEmbedder(context, length, width)
        self.blocks = nn.ModuleList(JointBlock(width, heads, qk_norm, last=i == depth - 1) for i in range(depth))
        self.final = FinalLayer(width, patch * patch * self.out_channels, modulated=True)
        initialise(self)

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        said = cast(Tensor, self.said(cond))  # never None: there is always a text to read
        text, mean = self.text.heard(said)
        vector = self.timestep(timestep) + self.pooled(mean)
        image = self.patches(x)
        for block in self.blocks:
            image, text = block(image, text, vector)
        return unpatchify(self.final(image, vector[:, None]), self.patch)

    @property
    def encoder(self) -> TokenEmbedder | ContextEmbedder:
        return self.text

    @property
    def tokens(self) -> int:
        """Patches of an image."""
        return (self.resolution // self.patch) ** 2
