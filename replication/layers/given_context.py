"""A context that others make, a frozen CLIP or T5: taken as it is."""

from torch import Tensor

from replication.layers.encoder import Encoder
from replication.types import InputError


class GivenContext(Encoder):
    """Float[B,L,width], unchanged; L must be `length`, 0 for any."""

    needs = "a context for every image"

    def __init__(self, width: int, length: int = 0):
        super().__init__(length or None, width=width)
        self.length = length

    def check(self, cond: Tensor) -> None:
        raise InputError(f"cond: this network takes a context Float[B,L,{self.width}], not {cond.dtype}")

    def forward(self, cond: Tensor) -> Tensor:
        self.check(cond)
        return cond
