"""ADM's precision and recall (Dhariwal & Nichol 2021): those of Kynkäänniemi et al. 2019 against 10,000 real images.

The reference files of ADM's evaluator hold 10,000 images for them, while FID's statistics are of the whole dataset; LDM and
DiT print figures of it. Fewer real images have larger balls: against 50,000 the same samples have another precision and
recall. Which 10,000 ADM took is not known; here they are taken evenly from the whole reference, in its order.

The rest is the evaluator's: all generated images, Inception's pooled features, closed balls to the third neighbour, which
is not the image itself. Its distances are in float16 where those are finite, so that the third digit may differ.
"""

import torch
from torch import Tensor

from replication.metrics.manifold import Manifold, OfManifold, covers, own_radii
from replication.metrics.metric import Material, Measurement
from replication.registry import METRICS

IMAGES = 10_000


class _OfADM(OfManifold):
    extractor, evaluator, reference_images = "inception-v3-compat", "ADM", IMAGES

    def compute(self, material: Material, samples: list[Tensor], real: Tensor) -> Measurement:
        if len(real) < IMAGES:
            return Measurement({})
        found = material.once(_covers, samples, material.once(own_radii, samples), real)
        return self.mean(material, found, _taken(real))


@METRICS.register("adm_precision")
class ADMPrecision(_OfADM):
    """Precision against 10,000 real images, as ADM's evaluator has it (Dhariwal & Nichol 2021); of Inception only."""

    name, part, label, position, over_generated = "adm_precision", "precision", "ADM precision", 17, True


@METRICS.register("adm_recall")
class ADMRecall(_OfADM):
    """Recall of 10,000 real images, as ADM's evaluator has it (Dhariwal & Nichol 2021); of Inception only."""

    name, part, label, position, over_generated = "adm_recall", "recall", "ADM recall", 18, False


def _taken(real: Tensor) -> Tensor:
    return torch.arange(IMAGES) * len(real) // IMAGES


def _covers(samples: list[Tensor], radii: list[Tensor], real: Tensor) -> list[Manifold]:
    return covers(samples, radii, real[_taken(real)])
