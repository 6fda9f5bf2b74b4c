"""What a DiT is told besides the image, as vectors of its width: the timestep and the label."""

from torch import Tensor, nn

from replication.layers.timestep_embedding import timestep_embedding
from replication.types import InputError

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


class LabelEmbedder(nn.Module):
    """Int[B] -> [B,width]; the label `classes` says nothing (which labels say it while training: condition "label").

    Raises InputError for labels on the CPU that are none of 0..classes. On a GPU, where reading one would make the host
    wait at every call, the lookup itself stops the program.
    """

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.classes, self.table = classes, nn.Embedding(classes + 1, width)

    def initialise(self) -> None:
        nn.init.normal_(self.table.weight, std=STD)

    def forward(self, label: Tensor) -> Tensor:
        if label.device.type == "cpu":
            odd = label[(label < 0) | (label > self.classes)]
            if odd.numel():
                raise InputError(
                    f"label {int(odd[0])} is none of 0..{self.classes - 1}, which this network knows, nor {self.classes}, "
                    "which says nothing"
                )
        answer: Tensor = self.table(label)
        return answer
