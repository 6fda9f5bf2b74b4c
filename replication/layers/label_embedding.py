"""What a network knows of a class: one vector for each, and one more that says nothing (Ho and Salimans 2022)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.layers.encoder import Encoder, check_numbers


class LabelEmbedding(Encoder):
    """Label Int[B] -> Float[B,width], for 0..classes-1 and for `classes`, which says nothing; standard normal at first."""

    needs = "a label for every image"

    def __init__(self, classes: int, width: int):
        super().__init__(width=width)
        self.classes = classes
        self.weight = nn.Parameter(torch.randn(classes + 1, width))

    def check(self, cond: Tensor) -> None:
        check_numbers("labels", cond, 1, self.classes, f"{self.classes} says nothing")

    def forward(self, labels: Tensor) -> Tensor:
        return F.embedding(labels, self.weight)
