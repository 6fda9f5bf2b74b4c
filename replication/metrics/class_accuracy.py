"""Class accuracy: the share of generated images that a classifier assigns to the class they were prompted with.

It is a metric only for an extractor whose logits are over the dataset's own classes (`Extractor.classifies`), and it
measures agreement with that classifier, errors of its own included: its accuracy on real images is the ceiling.
"""

import math

from torch import Tensor

from replication.metrics.metric import OF_SAMPLES, Material, Measurement, Metric, columns
from replication.metrics.uncertainty import Interval, wilson
from replication.registry import METRICS
from replication.types import InputError


@METRICS.register("class_accuracy")
class ClassAccuracy(Metric):
    """The share of images that a classifier gives the class they were prompted with (Shmelkov et al. 2018)."""

    name, label, direction, needs = "class_accuracy", "Class accuracy", "higher", ("logits", "prompted")
    position, depends, heading, interval = 4, OF_SAMPLES, "class accuracy", "wilson"

    def compute(self, material: Material, logits: Tensor, prompted: Tensor) -> Measurement:
        """Raises InputError for no images, another number of labels, or labels that the logits have no class for."""
        n = len(prompted)
        if logits.ndim != 2 or prompted.shape != logits.shape[:1] or not n:
            found = f"{list(logits.shape)} and {list(prompted.shape)}"
            raise InputError(f"class accuracy needs logits [N,K] and labels [N] of at least one image, got {found}")
        least, most = int(prompted.min()), int(prompted.max())
        if least < 0 or most >= logits.shape[1]:
            raise InputError(f"class accuracy: labels from {least} to {most}, but {logits.shape[1]} classes of logits")
        correct = int((logits.argmax(1) == prompted.to(logits.device)).sum())
        share = correct / n
        interval = Interval(*wilson(correct, n), math.sqrt(share * (1 - share) / n))
        return Measurement(columns(self.name, share, interval))
