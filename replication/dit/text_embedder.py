"""What MM-DiT is told of a text: a sequence for its text stream, and one vector for the modulation of every block.

Stable Diffusion 3 takes both from frozen text encoders. Here tokens are embedded by a table that is trained with the
network, or given context (a frozen encoder's output) is projected. The vector is the mean over the sequence.
"""

import torch
from torch import Tensor, nn

from replication.dit.embedders import STD
from replication.layers.encoder import check_numbers
from replication.types import InputError

PADDING = 0


class TokenEmbedder(nn.Module):
    """Int[B,L] -> ([B,L,width], [B,width]) by a table and learned positions.

    Token 0 is padding: it has an embedding, and the text stream reads it as any other, but the mean leaves it out; a text
    of nothing but padding says nothing, and its mean is 0. Raises InputError for another shape, and, on the CPU, for a
    token that is none of 0..vocabulary-1.
    """

    def __init__(self, vocabulary: int, length: int, width: int):
        super().__init__()
        self.vocabulary, self.length = vocabulary, length
        self.table, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)

    def initialise(self) -> None:
        nn.init.normal_(self.table.weight, std=STD)
        nn.init.normal_(self.places.weight, std=STD)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        if tokens.shape[1:] != (self.length,) or tokens.is_floating_point():
            raise InputError(
                f"this network reads {self.length} tokens per image, not {list(tokens.shape[1:])} {tokens.dtype}"
            )
        if tokens.device.type == "cpu":
            check_numbers("tokens", tokens, 2, self.vocabulary - 1, "0 is padding")
        words = self.table(tokens)
        said = (tokens != PADDING)[:, :, None].to(words)
        mean = (words * said).sum(dim=1) / said.sum(dim=1).clamp(min=1)
        return words + self.places.weight, mean


class ContextEmbedder(nn.Module):
    """Float[B,L,D] -> ([B,L,width], [B,width]) by one linear map; raises InputError for another shape."""

    def __init__(self, context: int, length: int, width: int):
        super().__init__()
        self.shape, self.project = torch.Size((length, context)), nn.Linear(context, width)

    def forward(self, context: Tensor) -> tuple[Tensor, Tensor]:
        if context.shape[1:] != self.shape or not context.is_floating_point():
            found = f"{list(context.shape[1:])} {context.dtype}"
            raise InputError(f"this network is told {list(self.shape)} numbers per image, not {found}")
        projected = self.project(context.to(self.project.weight.dtype))
        return projected, projected.mean(dim=1)
