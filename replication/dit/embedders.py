"""What a DiT is told besides the image, as vectors of its width: the timestep and the label."""

from torch import Tensor, nn

from replication.layers.label_embedding import LabelEmbedding
from replication.layers.timestep_embedding import timestep_embedding

FREQUENCIES = 256  # sines and cosines of the timestep, at every size of the network
STD = 0.02  # of the initial weights


class VectorEmbedder(nn.Module):
    """Float[B,numbers] -> [B,width] through two layers."""

    def __init__(self, numbers: int, width: int):
        super().__init__()
        self.first, self.second = nn.Linear(numbers, width), nn.Linear(width, width)
        self.activation = nn.SiLU()

    def initialise(self) -> None:
        nn.init.normal_(self.first.weight, std=STD)
        nn.init.normal_(self.second.weight, std=STD)

    def forward(self, numbers: Tensor) -> Tensor:
        answer: Tensor = self.second(self.activation(self.first(numbers)))
        return answer


class TimestepEmbedder(VectorEmbedder):
    """Float[B] -> [B,width]: cosines before sines with divisor half, then two layers."""

    def __init__(self, width: int):
        super().__init__(FREQUENCIES, width)

    def forward(self, timestep: Tensor) -> Tensor:
        return super().forward(timestep_embedding(timestep, FREQUENCIES, cos_first=True))


class LabelEmbedder(LabelEmbedding):
    """Label Int[B] -> Float[B,width]; the label `classes` says nothing (condition "label" says when, while training)."""

    def initialise(self) -> None:
        nn.init.normal_(self.weight, std=STD)
