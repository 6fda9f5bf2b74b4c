"""The two layers per position of a transformer block: four times the width in between, and GELU as tanh writes it."""

from torch import Tensor, nn

EXPANSION = 4


class FeedForward(nn.Sequential):
    """[B,N,width] -> [B,N,width]."""

    def __init__(self, width: int):
        super().__init__(
            nn.Linear(width, EXPANSION * width), nn.GELU(approximate="tanh"), nn.Linear(EXPANSION * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = super().forward(x)
        return answer
