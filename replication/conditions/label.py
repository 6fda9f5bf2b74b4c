"""The class of an image, as a number: what DiT and class-conditional LDM are told."""

import torch
from torch import Tensor

from replication.condition import Condition
from replication.registry import CONDITIONS
from replication.types import InputError


@CONDITIONS.register("label")
class Label(Condition):
    """cond: Int[B], the label itself; the number after the last class says nothing. Dropout 0.1 is DiT's and LDM's."""

    def __init__(self, dropout: float = 0.1):
        if not 0 <= dropout < 1:
            raise InputError(f"condition 'label': dropout must be in [0, 1), not {dropout}")
        self.dropout = dropout

    def of(self, labels: Tensor) -> Tensor:
        return labels

    def null(self, classes: int) -> Tensor:
        return torch.tensor(classes)
