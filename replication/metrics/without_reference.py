"""Figures of images without real ones to compare them with: what they show, and how far they lie from those of another row."""

import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from replication.metrics.metric import OF_SAMPLES, Material, Measurement, Metric, columns, with_interval
from replication.metrics.uncertainty import Influence, Interval, linear_part, wilson
from replication.registry import METRICS
from replication.types import InputError


@METRICS.register("class_accuracy")
class ClassAccuracy(Metric):
    """The share of images that a classifier gives the class they were prompted with (Shmelkov et al. 2018).

    It is a metric only for an extractor whose logits are over the dataset's own classes (`Extractor.classifies`), and it
    measures agreement with that classifier, errors of its own included: its accuracy on real images is the ceiling.
    """

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


@METRICS.register("is")
class InceptionScore(Metric):
    """IS: how sure a classifier is of each image, and how evenly of all classes (Salimans et al. 2016).

    Of torch-fidelity's ten splits, whose standard deviation is `is_std`, as papers print it.
    """

    name, label, direction, needs = "is", "IS", "higher", ("sample_logits",)
    form, position, by_factor, paper_form, depends, splits = "{:.2f}", 3, True, ".2f", OF_SAMPLES, 10

    def compute(self, material: Material, logits: list[Tensor]) -> Measurement:
        from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

        scores = [isc_features_to_metric(part) for part in logits]
        point, std = (statistics.fmean(s[key] for s in scores) for key in (KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD))
        draws = material.draws
        replicates = draws.mean(inception_score(part, draws.of_seed(index)[1]) for index, part in enumerate(logits))
        return with_interval("is", point, replicates, {"is_std": std})


@METRICS.register("nll")
class NLL(Metric):
    """NLL of test images in bits/dim: the variational bound (Ho et al. 2020, equation 5); papers print it as a bound."""

    name, label, unit, direction, needs, of_features = "nll", "NLL", "bits/dim", "lower", ("bits",), False
    interval, position, depends, upper_bound = "normal", 5, ("ema", "precision", "nll_images"), True

    def compute(self, material: Material, bits: Tensor) -> Measurement:
        n = len(bits)
        return Measurement({"nll": float(bits.mean()), "nll_se": float(bits.std() / n**0.5), "nll_images": n})


@METRICS.register("clip_score")
class ClipScore(Metric):
    """100 times the cosine between CLIP's embeddings of images and of their prompts, no less than 0 (Hessel et al. 2021).

    They print 2.5 max(cos, 0), of ViT-B/32 and of captions that "A photo depicts" goes before; here the prompt is embedded
    as it stands, as the generator was given it.
    """

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
        return _mean_over_images(self.name, material, each)


@METRICS.register("image_rms")
class ImageRMS(Metric):
    """The root mean square difference of an image from that of another row, of the same noise: the mean over images."""

    name, label, direction, of_features = "image_rms", "RMS beside", "lower", False
    needs = ("samples", "apart")
    form, position, unit, depends, evaluator = "{:.3g}", 6, "levels", OF_SAMPLES[:-1], ""

    def compute(self, material: Material, samples: list[Tensor], apart: Sequence[Tensor]) -> Measurement:
        return _mean_over_images(self.name, material, apart, least=0.0)


def _mean_over_images(name: str, material: Material, each: Sequence[Tensor], least: float = -math.inf) -> Measurement:
    """Of a number of each image, float64 [N] of each seed; the mean of the seeds' means."""
    points = [part.mean().item() for part in each]
    of_reference = torch.zeros(material.draws.reference.shape[1], dtype=torch.float64)
    replicates = linear_part(points, [Influence(part, of_reference) for part in each], material.draws)
    return with_interval(name, statistics.fmean(points), replicates, least=least)


def image_rms(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> Tensor:
    """How far images lie apart, in levels of 255: of two sets of N in batches of any size, uint8 [B,C,H,W], float64 [N].

    Raises ValueError for unequal N.
    """
    pairs = zip(chain.from_iterable(ours), chain.from_iterable(theirs), strict=True)
    return torch.stack([(a.double() - b.double()).square().mean().sqrt() for a, b in pairs])


def inception_score(logits: Tensor, counts: Tensor) -> Tensor:
    """Score of each resample of logits [N,K], over all images at once; counts [R,N] -> [R] float64.

    Splits only shift the score by a bias, which centring removes; the printed score has them (torch-fidelity's 10).
    """
    log_p = logits.double().log_softmax(1)
    p, n = log_p.exp(), len(logits)
    marginal = counts @ p / n  # [R,K]
    # mean_i sum_k p_ik log q_k = sum_k q_k log q_k, so neither term needs an [R,N,K] array
    divergence = counts @ (p * log_p).sum(1) / n - torch.xlogy(marginal, marginal).sum(1)
    return divergence.exp()
