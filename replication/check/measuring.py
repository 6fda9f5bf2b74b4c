"""What datasets, feature extractors and metrics must do, one function each; of what is not on this machine, less."""

import math
import re
from collections.abc import Iterator

import torch
from torch import Tensor

from replication.check.models import Finding, at_most, holds
from replication.datasets.dataset import Dataset
from replication.metrics.extractor import Extractor
from replication.metrics.features import Features
from replication.metrics.metric import Material, Metric
from replication.metrics.uncertainty import recentred
from replication.types import InputError

SHAPES = ((3, 32, 32), (1, 8, 8), (3, 299, 299))  # of images for an extractor: the first that it takes
ABSENT = "not on this machine: not checked"


def check_dataset(dataset: Dataset) -> Iterator[Finding]:
    """Splits, SHA-256s and classes; of content that is here, every image's and label's range against what is declared."""
    splits = sorted(dataset.sizes)
    complete = splits == sorted(dataset.fingerprints) and "train" in splits
    yield holds("splits", splits, complete, "train; sizes and SHA-256s")
    sums = all(map(_is_sha256, dataset.fingerprints.values()))
    yield holds("fingerprints", "SHA-256" if sums else dict(dataset.fingerprints), sums, "64 hexadecimal digits each")
    distinct = 0 < len(set(dataset.classes)) == len(dataset.classes)
    yield holds("classes", len(dataset.classes), distinct, "one or more, distinct")
    if not dataset.present():
        yield holds("content", ABSENT, True, "any")
        return
    for name in splits:
        try:
            images, labels, *_ = (split := dataset.load(name)).images, split.labels
        except InputError as error:
            yield holds(f"{name}: content", error, False, "what its fingerprint is of")
            continue
        needed = [dataset.sizes[name], *dataset.shape]
        fits = images.dtype == torch.uint8 and list(images.shape) == needed
        found = f"{images.dtype}{list(images.shape)}".removeprefix("torch.")
        yield holds(f"{name}: images", found, fits, f"uint8{needed}")
        ends = (int(labels.min()), int(labels.max()))
        yield holds(f"{name}: labels", ends, ends[0] >= 0 and ends[1] < len(dataset.classes), "one of the classes each")


def check_extractor(extractor: Extractor) -> Iterator[Finding]:
    """A name, weights by SHA-256, and finite float32 features that do not depend on the batch."""
    named = bool(extractor.name and extractor.version and extractor.labels)
    stated = f"{extractor.name}, {extractor.version}, {len(extractor.labels)}"
    yield holds("name, version, labels", stated, named, "stated")
    if not extractor.present:
        yield holds("weights", ABSENT, True, "any")
        return
    yield holds("weights", extractor.sha256[:12], _is_sha256(extractor.sha256), "a SHA-256")
    generator = torch.Generator().manual_seed(0)
    for shape in SHAPES:
        images = torch.randint(0, 256, (6, *shape), generator=generator, dtype=torch.uint8)
        try:
            together = extractor(images).values
        except InputError:
            continue
        fits = together.dtype == torch.float32 and together.ndim == 2 and len(together) == 6
        found, finite = list(together.shape), bool(together.isfinite().all())
        yield holds(f"features of {list(images.shape)}", found, fits and finite, "float32[6,D], finite")
        largest = float((extractor(images, batch_size=1).values - together).abs().max() / together.abs().max())
        yield at_most("relative difference that the batch makes", largest, 1e-4)
        return
    yield holds("features", f"none: images of {SHAPES} were refused", False, "of images of some shape")


def check_metric(metric: Metric) -> Iterator[Finding]:
    """Its own columns, and the same finite figures of the same material, which is drawn at random."""
    stated = bool(metric.name and metric.label and (metric.__doc__ or "").strip())
    yield holds("name, label, docstring", f"{metric.name}, {metric.label}", stated, "stated")
    materials = [_material(paired) for paired in (False, True)]
    known = bool(metric.needs) and all(hasattr(materials[0], need) for need in metric.needs)
    yield holds("needs", ", ".join(metric.needs), known, "attributes of Material")
    material = next((m for m in materials if all(getattr(m, need, None) is not None for need in metric.needs)), None)
    if material is None:
        return
    measured, repeated = (
        metric.compute(drawn, *(getattr(drawn, need) for need in metric.needs))
        for drawn in (material, _material(material.paired))
    )
    row, again = measured.columns, repeated.columns
    if not row:
        yield holds("columns", f"none of {len(material.reference or ())} images", True, "none, where they are too few")
        return
    own = [column == metric.name or column.startswith(f"{metric.name}_") for column in row]
    first = next(iter(row), "") == metric.name
    yield holds("columns", ", ".join(row), first and all(own), f"{metric.name} first, then its own")
    finite = all(math.isfinite(value) for value in row.values())
    yield holds("figures", {column: float(f"{value:.4g}") for column, value in row.items()}, finite, "finite")
    resampled = {metric.name} if metric.interval == "resampled" else set()
    yield holds(
        "replicates", sorted(measured.replicates), set(measured.replicates) == resampled, f"{sorted(resampled)}"
    )
    for column, replicates in measured.replicates.items():
        fits = replicates.dtype == torch.float64 and replicates.shape == (material.resamples,)
        yield holds("their shape", list(replicates.shape), fits, f"float64[{material.resamples}]")
        high = recentred(row[column], replicates).high
        yield at_most("difference of their interval from the columns'", abs(high - row[f"{column}_high"]), 0.0)
    differences = [abs(row[column] - again.get(column, math.inf)) for column in row]
    yield at_most("difference of the same material", max(differences), 0.0)


def _is_sha256(digest: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", digest) is not None


def _material(paired: bool) -> Material:
    """All that a metric may need, drawn from a fixed seed."""
    n, classes, generator = 200, 10, torch.Generator().manual_seed(0)

    def features() -> Features:
        values, logits, spatial = (torch.randn(n, width, generator=generator) for width in (8, classes, 12))
        return Features(values, logits, spatial)

    def images() -> Tensor:
        return torch.randint(0, 256, (20, 3, 16, 16), generator=generator, dtype=torch.uint8)

    return Material(
        generated=[features()] if paired else [features(), features()],
        reference=features(),
        paired=paired,
        training=features(),
        held_out=features(),
        logits=torch.randn(n, classes, generator=generator),
        prompted=torch.randint(0, classes, (n,), generator=generator),
        originals=images(),
        reconstructions=images(),
        codes=torch.randint(0, 9, (32,), generator=generator),
        bits=torch.rand(n, generator=generator, dtype=torch.float64),
        image_embeddings=[torch.rand(n, 8, generator=generator) for _ in range(1 if paired else 2)],
        prompt_embeddings=[torch.rand(n, 8, generator=generator) for _ in range(1 if paired else 2)],
        resamples=20,
    )
