"""What MM-DiT is told of a text: a sequence for its text stream, and one vector for the modulation of every block.

Stable Diffusion 3 takes both from frozen text encoders. Here tokens are embedded by a table that is trained with the
network, or given context (a frozen encoder's output) is projected. The vector is the mean over the sequence.
"""

import torch
from torch import Tensor, nn

from replication.dit.embedders import STD
from replication.layers.encoder import Encoder, check_numbers
from replication.layers.given_context import GivenContext
from replication.types import InputError

PADDING = 0


class TokenEmbedder(Encoder):
    """Int[B,length] -> Float[B,length+1,width] by a table and learned positions: the sequence, and last its mean.

    Token 0 is padding: it has an embedding, and the text stream reads it as any other, but the mean leaves it out, and so
    it is made here, where tokens are still known; a text of nothing but padding says nothing, and its mean is 0.
    """

    needs = "the tokens of a text for every image"

    def __init__(self, vocabulary: int, length: int, width: int):
        super().__init__(length + 1, width=width)
        self.vocabulary, self.length = vocabulary, length
        self.table, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)

    def initialise(self) -> None:
        nn.init.normal_(self.table.weight, std=STD)
        nn.init.normal_(self.places.weight, std=STD)

    def check(self, cond: Tensor) -> None:
        check_numbers("tokens", cond, 2, self.vocabulary - 1, "0 is padding")

    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.shape[1:] != (self.length,):
            raise InputError(f"cond: this network takes tokens Int[B,{self.length}], not Int{list(tokens.shape)}")
        words = self.table(tokens)
        said = (tokens != PADDING)[:, :, None].to(words)
        mean = (words * said).sum(dim=1, keepdim=True) / said.sum(dim=1, keepdim=True).clamp(min=1)
        return torch.cat([words + self.places.weight, mean], dim=1)

    def heard(self, said: Tensor) -> tuple[Tensor, Tensor]:
        """What this made of tokens -> (sequence [B,length,width], mean [B,width])."""
        return said[:, :-1], said[:, -1]


class ContextEmbedder(GivenContext):
    """Float[B,length,context], taken as it is and projected by one linear map on the way to the network's width."""

    def __init__(self, context: int, length: int, width: int):
        super().__init__(context, length)
        self.project = nn.Linear(context, width)

    def heard(self, said: Tensor) -> tuple[Tensor, Tensor]:
        """The context -> (sequence [B,length,width], mean [B,width])."""
        projected = self.project(said.to(self.project.weight.dtype))
        return projected, projected.mean(dim=1)
