"""Class accuracy: the share of generated images that a classifier assigns to the class they were prompted with.

It is a metric only for an extractor whose logits are over the dataset's own classes (`Extractor.classifies`), and it
measures agreement with that classifier, errors of its own included: its accuracy on real images is the ceiling.
"""

import math

from torch import Tensor

from replication.metrics.metric import OF_SAMPLES, Material, Metric, Row
from replication.metrics.proportion import wilson
from replication.registry import METRICS
from replication.types import InputError


@METRICS.register("class_accuracy")
class ClassAccuracy(Metric):
    """The share of images that a classifier gives the class they were prompted with (Shmelkov et al. 2018)."""

    name, label, higher_is_better, needs = "class_accuracy", "Class accuracy", True, ("logits", "prompted")
    position, depends, heading = 4, OF_SAMPLES, "class accuracy"

    def compute(self, material: Material, logits: Tensor, prompted: Tensor) -> Row:
        return class_accuracy(logits, prompted)


def class_accuracy(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Of logits [N,K] and prompted classes [N], integers in [0, K): `class_accuracy`, `_low`, `_high` (Wilson), `_se`.

    Raises InputError for no images, another number of labels, or labels that the logits have no class for.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        found = f"{list(logits.shape)} and {list(labels.shape)}"
        raise InputError(f"class accuracy needs logits [N,K] and labels [N] of at least one image, got {found}")
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= logits.shape[1]:
        raise InputError(
            f"class accuracy: labels from {least} to {most}, but the logits have {logits.shape[1]} classes"
        )
    n, correct = len(labels), int((logits.argmax(1) == labels.to(logits.device)).sum())
    share, (low, high) = correct / n, wilson(correct, n)
    return {
        "class_accuracy": share,
        "class_accuracy_low": low,
        "class_accuracy_high": high,
        "class_accuracy_se": math.sqrt(share * (1 - share) / n),
    }
