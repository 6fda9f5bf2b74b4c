"""The class of an image, as a number: what DiT and class-conditional LDM are conditioned on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from replication.conditions.condition import Condition, LabelledDataset, Sizes
from replication.registry import CONDITIONS, unknown


@CONDITIONS.register("label")
class Label(Condition):
    """The class of an image, as in DiT (Peebles and Xie 2023) and class-conditional LDM.

    cond: Int[B], the label itself; the number after the last class is the null. A prompt is the name of a class, or
    one of its captions, "a photo of a ship".
    """

    def of(self, labels: Tensor, images: Tensor, dataset: LabelledDataset) -> Tensor:
        return labels

    def null(self, dataset: LabelledDataset) -> Tensor:
        return torch.tensor(len(dataset.classes))

    def of_prompts(self, prompts: Sequence[str], dataset: LabelledDataset) -> Tensor:
        each = len(dataset.captions) // len(dataset.classes)
        known = {caption: i // each for i, caption in enumerate(dataset.captions)}
        known |= {name: i for i, name in enumerate(dataset.classes)}
        for prompt in prompts:
            if prompt not in known:
                raise unknown(f"class of {dataset.name}", prompt, list(dataset.classes))
        return torch.tensor([known[prompt] for prompt in prompts])

    def sizes(self, dataset: LabelledDataset) -> Sizes:
        return Sizes(classes=len(dataset.classes))
