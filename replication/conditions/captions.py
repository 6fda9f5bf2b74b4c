"""Which of a dataset's captions an image is paired with.

Image number i of class k takes caption (i // K) % T of the T captions of its class, for K classes: so balanced labels
i % K meet every caption equally often.
"""

from torch import Tensor

from replication.conditions.condition import LabelledDataset
from replication.types import InputError


def captions(dataset: LabelledDataset) -> tuple[str, ...]:
    """Every caption of the dataset, those of one class together. Raises InputError for a dataset that has none."""
    if not dataset.captions:
        raise InputError(f"dataset {dataset.name!r} has no captions, and a condition by text needs them")
    return dataset.captions


def caption_numbers(labels: Tensor, images: Tensor, dataset: LabelledDataset) -> Tensor:
    """Indices into `captions(dataset)` for images of labels Int[B] and numbers Int[B], Int[B]; raises as it does."""
    classes = len(dataset.classes)
    per_class = len(captions(dataset)) // classes
    return labels * per_class + (images // classes) % per_class
