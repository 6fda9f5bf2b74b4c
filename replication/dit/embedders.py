"""What a DiT is told besides the image, as vectors of its width: the timestep and the label."""

from torch import Tensor, nn

from replication.layers.label_embedding import LabelEmbedding
from replication.layers.timestep_embedding import timestep_embedding

FREQUENCIES = 256  # sines and cosines of the timestep, at every size of the network
STD = 0.02  # of the initial weights


class TimestepEmbedder(nn.Module):
    """Float[B] -> [B,width]: cosines before sines with divisor half, then two layers."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = nn.Linear(FREQUENCIES, width), nn.Linear(width, width)
        self.activation = nn.SiLU()

    def initialise(self) -> None:
        nn.init.normal_(self.first.weight, std=STD)
        nn.init.normal_(self.second.weight, std=STD)

    def forward(self, timestep: Tensor) -> Tensor:
        waves = timestep_embedding(timestep, FREQUENCIES, cos_first=True)
        answer: Tensor = self.second(self.activation(self.first(waves)))
        return answer


class LabelEmbedder(LabelEmbedding):
    """Label Int[B] -> Float[B,width]; the label `classes` says nothing (condition "label" says when, while training)."""

    def initialise(self) -> None:
        nn.init.normal_(self.weight, std=STD)
