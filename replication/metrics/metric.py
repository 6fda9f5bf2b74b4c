"""A metric: one registered class, which states how its figure is named and shown, what it needs, and how it is computed.

A new metric is one file of this folder, or of another package: `evaluate` computes it for every row that has what it
needs, and tables, labels, published values and claims find it by its name.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, ClassVar, Literal, TypeVar, cast

import torch
from torch import Tensor

from replication.metrics.features import Features
from replication.metrics.moments import Gaussian, Moments
from replication.metrics.uncertainty import Draws, Interval, draw, draw_paired, recentred
from replication.registry import METRICS
from replication.types import InputError

Row = dict[str, float]
T = TypeVar("T")

LEAST_IMAGES = 10  # one per split of the inception score
VARIETY = "Fidelity, variety and memory"  # headings of tables; the main one has none
RECONSTRUCTIONS = "First stages"
OF_SAMPLES = ("n", "seeds", "ema", "quantizer", "labels", "precision", "extractor")  # keys of a protocol
OF_REFERENCE = ("reference", "preprocessing", "drop_last")
Shown = Literal["", "interval", "error"]  # beside a figure: nothing, [low, high], +- 1.96 standard errors
SHOWN: dict[str, Shown] = {"resampled": "interval", "wilson": "interval", "normal": "error", "none": ""}


@dataclass(frozen=True, eq=False)
class Material:
    """What the metrics of a row are computed from; what a row does not have is None, and so are the metrics that need it.

    `generated` are the features of the images of each seed, `reference` those of the images that they are compared with, and
    `moments` what distances of Gaussians are taken to instead, with or without images beside them. Where they are `paired`,
    row i of the one is a reconstruction of row i of the other. `training` and `held_out` are features of real images,
    `prompted` the classes [N] that a classifier's `logits` [N,K] should show. `originals` and `reconstructions` are uint8
    [N,C,H,W], `codes` [K] counts the uses of each entry of a codebook, and `bits` [N] are the bound in bits/dim of single
    images. `image_embeddings` and `prompt_embeddings` [N,D] of each seed are CLIP's, of the images and of the texts that they
    were drawn for. `apart` [N] of each seed is how far each image lies from that of another row. Computed on `device`.
    Raises InputError for no seeds, fewer than ten images, or features of different extractors.
    """

    generated: Sequence[Features] | None = None
    reference: Features | None = None
    moments: Moments | None = None
    paired: bool = False
    training: Features | None = None
    held_out: Features | None = None
    logits: Tensor | None = None
    prompted: Tensor | None = None
    originals: Tensor | None = None
    reconstructions: Tensor | None = None
    codes: Tensor | None = None
    bits: Tensor | None = None
    image_embeddings: Sequence[Tensor] | None = None
    prompt_embeddings: Sequence[Tensor] | None = None
    apart: Sequence[Tensor] | None = None
    resamples: int = 200
    seed: int = 0
    device: str | torch.device = "cpu"
    _made: dict[Any, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.generated is None or (self.reference is None and self.moments is None):
            return
        if not self.generated:
            raise InputError("metrics: no generated images; give the features of at least one seed")
        if self.moments is not None:
            self.moments.check(self.generated[0])
        like = self.reference or self.generated[0]
        for index, features in enumerate([*self.generated, *([self.reference] if self.reference else [])]):
            which = "reference" if index == len(self.generated) else f"seed {index} of the generated images"
            if len(features) < LEAST_IMAGES:
                raise InputError(f"metrics: {which} has {len(features)} images, at least {LEAST_IMAGES} are needed")
            if (features.widths, features.extractor) != (like.widths, like.extractor):
                raise InputError(f"metrics: {which} comes from another extractor than the reference")

    def once(self, work: Callable[..., T], *parts: Any) -> T:
        """work(*parts), which several metrics share: computed for the first of them."""
        if work not in self._made:
            self._made[work] = work(*parts)
        return cast(T, self._made[work])

    @property
    def extractor(self) -> str:
        """The name of what computed the features; "" where they have none."""
        like = self.reference or next(iter(self.generated or ()), None)
        return like.extractor if like else ""

    @cached_property
    def values(self) -> list[Tensor] | None:
        """Features [N,D] of each seed, on the device."""
        return None if self.generated is None else [f.values.to(self.device) for f in self.generated]

    @cached_property
    def samples(self) -> list[Tensor] | None:
        """The same of images that were drawn by themselves: None where they are reconstructions."""
        return None if self.paired else self.values

    @cached_property
    def real(self) -> Tensor | None:
        """Features [M,D] of the reference, on the device."""
        return None if self.reference is None else self.reference.on(self.device)

    @cached_property
    def law(self) -> Tensor | Gaussian | None:
        """What distances of the features are taken to: the moments, or else those of the real images."""
        return self._on_device(self.moments.values) if self.moments else self.real

    @cached_property
    def sample_logits(self) -> list[Tensor] | None:
        """Logits [N,K] of each seed by the extractor itself, on the CPU."""
        found = [f.logits for f in self.generated or () if f.logits is not None]
        return found if found and not self.paired else None

    @cached_property
    def spatial(self) -> tuple[list[Tensor], Tensor | Gaussian] | None:
        """Feature maps [N,S] of each seed, and what their distances are taken to, on the device."""
        found = [f.spatial.to(self.device) for f in self.generated or () if f.spatial is not None]
        of_images = self.reference.spatial if self.reference else None
        law = None if of_images is None else of_images.to(self.device)
        to = law if self.moments is None else self._on_device(self.moments.spatial)
        return (found, to) if found and to is not None and not self.paired else None

    def _on_device(self, law: Gaussian | None) -> Gaussian | None:
        return None if law is None else Gaussian(*(part.to(self.device) for part in law))

    @cached_property
    def draws(self) -> Draws:
        """The resamples, the same for every metric."""
        real = len(self.reference or ())
        if self.paired:
            return draw_paired(real, self.resamples, self.seed)
        return draw([len(features) for features in self.generated or ()], real, self.resamples, self.seed)


@dataclass(frozen=True)
class Measurement:
    """Figures of a row: those of one metric, as it computes them, or those of all, as `evaluate` joins them.

    columns: by name, without the "metric." that a record puts before it. A metric's own name comes first; `_low` and
        `_high` (95 %) and `_se` follow where it has an error, then what else it prints.
    replicates: by the name of the figure, float64 [R]: under the resamples of the material's draws, whose `stream` names
        them. `recentred(columns[name], replicates[name])` is the figure's interval, cut off where a distance ends at 0.
    raw: those of the same figures before they were calibrated, where they were (metrics/uncertainty.py).
    """

    columns: Row
    replicates: dict[str, Tensor] = field(default_factory=dict)
    raw: dict[str, Tensor] = field(default_factory=dict)


class Metric:
    """A figure of a row; its docstring's first line is its description and source."""

    name: str
    label: str  # as a table prints it; "FID" stands for the distance of whichever extractor
    direction: ClassVar[Literal["higher", "lower"]]  # is better
    needs: tuple[str, ...]  # of Material
    extractor = ""  # the only one that it is defined for, where that is one
    version = 1  # raised when the figure changes: rows under another one are measured again
    interval: ClassVar[Literal["resampled", "wilson", "normal", "none"]] = "resampled"  # resampled ones have replicates
    of_features = True  # whether another extractor gives another figure, so that its name is printed beside it
    unit = ""
    scale = 1.0  # by which a table multiplies the figure
    form = "{:.3f}"
    table = ""  # the heading of the table that shows it
    position = 100  # among the columns there, from the left
    by_factor = False  # whether it is positive and varies by a factor, so that errors are about its logarithm
    paper_form = ".3f"  # beside a published value
    # keys of a protocol that published values and ours must agree in
    depends: tuple[str, ...] = OF_SAMPLES + OF_REFERENCE
    evaluator = "torch-fidelity"  # whose figures it equals, by the name that published values have for it
    reference_images: int | None = None  # how many of the reference it takes; None: all of them
    splits = 1  # of the images; a published standard deviation is taken over them, and their mean is the figure
    upper_bound = False  # whether less than a published value is no contradiction
    biased = False  # whether that of few images lies above the distance of the distributions, which hides differences

    # of the material and of each part that `needs` names
    compute: Callable[..., Measurement]

    @property
    def column(self) -> str:
        """Of a row's record."""
        return f"metric.{self.name}"

    @property
    def spread(self) -> Shown:
        """What a table shows beside the figure."""
        return SHOWN[self.interval]

    @property
    def heading(self) -> str:
        """Of a table's column; {name} stands for the label by the extractor."""
        label = f"{{{self.name}}}" if self.of_features else self.label
        scale = f" x {self.scale:g}" if self.scale != 1 and "%" not in self.form else ""
        return label + scale + (f", {self.unit}" if self.unit else "")


@cache
def metric_named(name: str) -> Metric:
    """The metric of that name; raises InputError with the nearest valid one."""
    return cast(Metric, METRICS.build(name))


@cache
def metrics() -> tuple[Metric, ...]:
    """Every metric that can be built, in the order of a table's columns."""
    return tuple(sorted((metric for _, metric in METRICS.built()), key=lambda metric: metric.position))


def evaluate(material: Material) -> Measurement:
    """Every metric that has what it needs, of the extractor that it is defined for."""
    whole = Measurement({})
    for metric in metrics():
        needed = [getattr(material, need) for need in metric.needs]
        if any(part is None for part in needed) or metric.extractor not in ("", material.extractor):
            continue
        found = metric.compute(material, *needed)
        whole.columns.update(found.columns)
        whole.replicates.update(found.replicates)
        whole.raw.update(found.raw)
    return whole


def columns(name: str, point: float, interval: Interval) -> Row:
    """The columns of a figure with an error."""
    return {name: point, **{f"{name}_{end}": value for end, value in zip(("low", "high", "se"), interval, strict=True)}}


def with_interval(
    name: str,
    point: float,
    replicates: Tensor,
    others: Row | None = None,
    least: float = -math.inf,
    raw: Tensor | None = None,
) -> Measurement:
    """A figure with its interval by replicates [R] under resampling, which does not reach below `least`, and others.

    `raw` are the replicates before they were calibrated.
    """
    low, high, error = recentred(point, replicates)
    interval = Interval(max(least, low), high, error)
    kept = {} if raw is None else {name: raw}
    return Measurement(columns(name, point, interval) | (others or {}), {name: replicates}, kept)
