"""From tokens to the numbers of their patches: the last layer norm and a linear map that starts at 0.

Under the adaLN designs the norm is modulated as in a block; the cross-attention and in-context designs have no vector
to modulate with, and their published parameter counts leave no room for one.
"""

from torch import Tensor, nn

from replication.dit.modulation import EPS, Modulation, modulate, plain_norm


class FinalLayer(nn.Module):
    """x [B,N,width], told [B,K,width] -> [B,N,outputs]."""

    def __init__(self, width: int, outputs: int, modulated: bool):
        super().__init__()
        self.modulation = Modulation(width, 2) if modulated else None
        self.norm = plain_norm(width) if modulated else nn.LayerNorm(width, EPS)
        self.project = nn.Linear(width, outputs)

    def initialise(self) -> None:
        if self.modulation is not None:
            self.modulation.initialise_zero()
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        x = self.norm(x)
        if self.modulation is not None:
            shift, scale = self.modulation(told.sum(dim=1))
            x = modulate(x, shift, scale)
        answer: Tensor = self.project(x)
        return answer
