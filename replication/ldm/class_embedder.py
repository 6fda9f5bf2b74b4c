"""A class as a context of one token, which LDM's ImageNet models hear by cross-attention."""

from torch import Tensor

from replication.layers.label_embedding import LabelEmbedding


class ClassEmbedder(LabelEmbedding):
    """Label Int[B] -> context Float[B,1,width]; the label after the last class says nothing."""

    def __init__(self, classes: int, width: int):
        super().__init__(classes, width)
        self.shape = (1, width)

    def forward(self, labels: Tensor) -> Tensor:
        return super().forward(labels)[:, None]
