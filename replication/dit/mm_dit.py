"""MM-DiT, a transformer over image and text together: Esser et al. 2024 (Stable Diffusion 3, arXiv:2403.03206), section 4.

Image and text are two streams with weights of their own that meet in one attention over both sequences (figure 2). The
modulation is a function of the timestep plus the text's mean, each through two layers. Positions, patches and the final
layer are DiT's. What embeds the text is small and trained along, where the paper has three frozen encoders; the paper's
positions for images of many sizes are not here.
"""

from typing import cast

import torch
from torch import Tensor, nn

from replication.dit.blocks import Attention, FeedForward, Modulation, attend, gated, modulate, plain_norm
from replication.dit.model import STD, FinalLayer, PatchTransformer, VectorEmbedder, initialise, unpatchify
from replication.layers.conditioning import GivenContext, TokenEncoder
from replication.layers.linear import Linear
from replication.registry import MODELS
from replication.types import InputError

PADDING = 0


class Stream(Attention):
    """The half of a joint block that one modality has for itself: around the attention, and an MLP, gated as in DiT.

    last: the text's in the last block, which nothing reads afterwards; it gives queries, keys and values to the attention
    and takes nothing from it.
    """

    def __init__(self, width: int, heads: int, qk_norm: bool, last: bool = False):
        super().__init__(width, heads, qk_norm)
        self.last = last
        self.modulation = Modulation(width, 2 if last else 6)
        self.norm1, self.qkv = plain_norm(width), Linear(width, 3 * width)
        if not last:
            self.out, self.norm2, self.mlp = Linear(width, width), plain_norm(width), FeedForward(width)

    def projected(self, x: Tensor, shift: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of x [B,N,width], each [B,heads,N,width/heads]."""
        return self.split(self.qkv(modulate(self.norm1(x), shift, scale)))

    def updated(self, x: Tensor, attended: Tensor, modulation: list[Tensor]) -> Tensor:
        """x after its share of the attention, [B,N,width]; modulation: the parts after the first shift and scale."""
        if self.last:
            return x
        gate1, shift2, scale2, gate2 = modulation
        x = gated(x, gate1, self.out(attended))
        return gated(x, gate2, self.mlp(modulate(self.norm2(x), shift2, scale2)))


class JointBlock(nn.Module):
    """image [B,N,width], text [B,L,width], vector [B,width] -> (image, text)."""

    def __init__(self, width: int, heads: int, qk_norm: bool, last: bool):
        super().__init__()
        self.image = Stream(width, heads, qk_norm)
        self.text = Stream(width, heads, qk_norm, last)

    def forward(self, image: Tensor, text: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        image_shift, image_scale, *image_rest = self.image.modulation(vector)
        text_shift, text_scale, *text_rest = self.text.modulation(vector)
        of_image = self.image.projected(image, image_shift, image_scale)
        of_text = self.text.projected(text, text_shift, text_scale)
        attended = attend(*(torch.cat(pair, dim=2) for pair in zip(of_image, of_text, strict=True)))
        n = image.shape[1]
        return (
            self.image.updated(image, attended[:, :n], image_rest),
            self.text.updated(text, attended[:, n:], text_rest),
        )


class TokenEmbedder(TokenEncoder):
    """Int[B,length] -> Float[B,length+1,width] by a table and learned positions: the sequence, and last its mean.

    Token 0 is padding: the text stream reads it as any other, but the mean leaves it out, and so it is made here, where
    tokens are still known; a text of nothing but padding is the null text, and its mean is 0.
    """

    def __init__(self, vocabulary: int, length: int, width: int):
        super().__init__(vocabulary, length, length + 1, width=width)
        self.table, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)

    def initialise(self) -> None:
        nn.init.normal_(self.table.weight, std=STD)
        nn.init.normal_(self.places.weight, std=STD)

    def forward(self, tokens: Tensor) -> Tensor:
        self.check_length(tokens)
        words = self.table(tokens)
        present = (tokens != PADDING)[:, :, None].to(words)
        mean = (words * present).sum(dim=1, keepdim=True) / present.sum(dim=1, keepdim=True).clamp(min=1)
        return torch.cat([words + self.places.weight, mean], dim=1)

    def split(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """The embedding -> (sequence [B,length,width], mean [B,width])."""
        return embedding[:, :-1], embedding[:, -1]


class ContextEmbedder(GivenContext):
    """Float[B,length,context], a frozen encoder's output, projected by one linear map on the way to the network."""

    def __init__(self, context: int, length: int, width: int):
        super().__init__(context, length)
        self.project = nn.Linear(context, width)

    def split(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """The context -> (sequence [B,length,width], mean [B,width])."""
        projected = self.project(embedding.to(self.project.weight.dtype))
        return projected, projected.mean(dim=1)


@MODELS.register("mm-dit")
class MMDiT(PatchTransformer):
    """MM-DiT, a transformer over image and text together (Esser et al. 2024, section 4).

    `network(x [B,C,H,W], timestep [B], cond) -> [B,2C,H,W]`, or [B,C,H,W] without learned_variance.

    cond: tokens Int[B,length] of 0..vocabulary-1 with 0 for padding, or what `encode` makes of them, Float[B,length+1,width];
    or context Float[B,length,context], which `encode` leaves as it is. One of vocabulary and context is set, the other
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
        super().__init__(depth, width, heads, patch, channels, resolution, learned_variance, qk_norm)
        if (vocabulary > 0) == (context > 0):
            raise InputError(
                "mm-dit reads tokens (vocabulary > 0) or context (context > 0), one of them; "
                f"not vocabulary = {vocabulary} and context = {context}"
            )
        self.pooled = VectorEmbedder(width, width)
        self.text = TokenEmbedder(vocabulary, length, width) if vocabulary else ContextEmbedder(context, length, width)
        self.blocks = nn.ModuleList(JointBlock(width, heads, qk_norm, last=i == depth - 1) for i in range(depth))
        self.final = FinalLayer(width, patch * patch * self.out_channels, modulated=True)
        initialise(self)

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        text, mean = self.text.split(cast(Tensor, self.embedded(cond)))  # never None: cond is required
        vector = self.timestep(timestep) + self.pooled(mean)  # [B,width]
        image = self.patches(x)  # [B,N,width]
        for block in self.blocks:
            image, text = block(image, text, vector)
        return unpatchify(self.final(image, vector[:, None]), self.patch)

    @property
    def encoder(self) -> TokenEmbedder | ContextEmbedder:
        return self.text
