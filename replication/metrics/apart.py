"""How far images lie from those of another row that were drawn from the same noise, image by image, in levels of 255."""

import statistics
from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from torch import Tensor

from replication.metrics.metric import OF_SAMPLES, Material, Measurement, Metric, with_interval
from replication.metrics.uncertainty import Influence, linear_part
from replication.registry import METRICS


@METRICS.register("image_rms")
class ImageRMS(Metric):
    """The root mean square difference of an image from that of another row, of the same noise: the mean over images."""

    name, label, direction, of_features = "image_rms", "RMS beside", "lower", False
    needs = ("samples", "apart")
    form, position, unit, depends, evaluator = "{:.3g}", 6, "levels", OF_SAMPLES[:-1], ""

    def compute(self, material: Material, samples: list[Tensor], apart: Sequence[Tensor]) -> Measurement:
        points = [part.mean().item() for part in apart]
        of_reference = torch.zeros(material.draws.reference.shape[1], dtype=torch.float64)
        replicates = linear_part(points, [Influence(part, of_reference) for part in apart], material.draws)
        return with_interval(self.name, statistics.fmean(points), replicates, least=0.0)


def image_rms(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> Tensor:
    """Of two sets of N images in batches of any size, uint8 [B,C,H,W]: float64 [N]. Raises ValueError for unequal N."""
    pairs = zip(chain.from_iterable(ours), chain.from_iterable(theirs), strict=True)
    return torch.stack([(a.double() - b.double()).square().mean().sqrt() for a, b in pairs])
