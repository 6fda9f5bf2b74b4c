"""CLIP score (Hessel et al. 2021): do images show what their prompts say, by the angle between CLIP's embeddings?

The mean over images of max(100 cos(image, prompt), 0). Hessel et al. print 2.5 max(cos, 0), of ViT-B/32 and of captions
that "A photo depicts" goes before; here the prompt is embedded as it stands, as the generator was given it.
"""

import statistics
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from replication.metrics.metric import OF_SAMPLES, Material, Measurement, Metric, with_interval
from replication.metrics.uncertainty import Influence, linear_part
from replication.registry import METRICS
from replication.types import InputError


@METRICS.register("clip_score")
class ClipScore(Metric):
    """100 times the cosine between CLIP's embeddings of images and of their prompts, no less than 0 (Hessel et al. 2021)."""

    name, label, direction, of_features = "clip_score", "CLIP score (ViT-L/14)", "higher", False
    needs = ("samples", "image_embeddings", "prompt_embeddings")
    form, position, depends, paper_form = "{:.2f}", 5, OF_SAMPLES[:-1], ".2f"  # whatever the extractor

    def compute(
        self, material: Material, samples: list[Tensor], images: Sequence[Tensor], prompts: Sequence[Tensor]
    ) -> Measurement:
        """Raises InputError unless each generated image has one embedding of itself and one of its prompt."""
        wanted = [[len(values), images[0].shape[1]] for values in samples]
        of_images, of_prompts = ([list(part.shape) for part in parts] for parts in (images, prompts))
        if not of_images == of_prompts == wanted:
            found, sizes = f"{of_images} and {of_prompts}", [len(values) for values in samples]
            raise InputError(f"CLIP score: embeddings of images and prompts {found} for {sizes} generated images")
        pairs = zip(images, prompts, strict=True)
        each = [100 * cosine_similarity(image.double(), text.double()).clamp(min=0) for image, text in pairs]
        points = [part.mean().item() for part in each]
        of_reference = torch.zeros(material.draws.reference.shape[1], dtype=torch.float64)
        replicates = linear_part(points, [Influence(part, of_reference) for part in each], material.draws)
        return with_interval(self.name, statistics.fmean(points), replicates)
