"""What a metric must do: name its columns, and make the same finite figures of the same material."""

import math
from collections.abc import Iterator

import torch

from replication.check.finding import Finding, at_most, holds
from replication.metrics.features import Features
from replication.metrics.metric import Material, Metric

N, D, K = 200, 8, 10


def findings(metric: Metric) -> Iterator[Finding]:
    """On features of Gaussian draws, and on images, logits, codes and bits that were drawn likewise."""
    stated = bool(metric.name and metric.label and (metric.__doc__ or "").strip())
    yield holds("name, label, docstring", f"{metric.name}, {metric.label}", stated, "stated")
    materials = [_material(paired) for paired in (False, True)]
    unknown = [need for need in metric.needs if not hasattr(materials[0], need)]
    yield holds("needs", ", ".join(metric.needs), bool(metric.needs) and not unknown, "attributes of Material")
    material = next((m for m in materials if all(getattr(m, need, None) is not None for need in metric.needs)), None)
    if material is None:
        return
    row = metric.compute(material, *(getattr(material, need) for need in metric.needs))
    own = [column == metric.name or column.startswith(f"{metric.name}_") for column in row]
    yield holds(
        "columns", ", ".join(row), next(iter(row), "") == metric.name and all(own), f"{metric.name} first, then its own"
    )
    finite = all(math.isfinite(value) for value in row.values())
    yield holds("figures", {column: float(f"{value:.4g}") for column, value in row.items()}, finite, "finite")
    same = _material(material.paired)
    again = metric.compute(same, *(getattr(same, need) for need in metric.needs))
    yield at_most(
        "difference of the same material", max(abs(row[column] - again.get(column, math.inf)) for column in row), 0.0
    )


def _material(paired: bool) -> Material:
    """All that a metric may need, drawn from a fixed seed."""
    generator = torch.Generator().manual_seed(0)

    def features() -> Features:
        values, logits, spatial = (torch.randn(N, width, generator=generator) for width in (D, K, 12))
        return Features(values, logits, spatial)

    def images() -> torch.Tensor:
        return torch.randint(0, 256, (20, 3, 16, 16), generator=generator, dtype=torch.uint8)

    return Material(
        generated=[features()] if paired else [features(), features()],
        reference=features(),
        paired=paired,
        training=features(),
        held_out=features(),
        logits=torch.randn(N, K, generator=generator),
        prompted=torch.randint(0, K, (N,), generator=generator),
        originals=images(),
        reconstructions=images(),
        codes=torch.randint(0, 9, (32,), generator=generator),
        bits=torch.rand(N, generator=generator, dtype=torch.float64),
        resamples=20,
    )
