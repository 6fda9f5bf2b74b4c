"""From a measurement to its two sets of features, with what the base has in common with it computed once."""

import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from replication.harness.forensics.measurement import Measurement
from replication.harness.forensics.move import Pair, Pool
from replication.harness.forensics.subject import Subject
from replication.harness.forensics.treatment import treated
from replication.harness.measuring import real_features
from replication.harness.workplace import Workplace
from replication.metrics.extractor import Extractor
from replication.registry import DATASETS, EXTRACTORS


class Laboratory:
    """Measures around one subject; sample sets are those of the state folder, drawn where they are missing."""

    def __init__(self, subject: Subject, place: Workplace):
        self.subject, self.place = subject, place
        self._extractors: dict[str, Extractor] = {}  # by precision: float64 is another copy of the network

    @cached_property
    def base(self) -> Pair:
        return self._generated(self.subject.base), self._reference(self.subject.base)

    def measure(self, measurement: Measurement) -> Pair:
        """The features of both sides; the base's own where a side is the base's, or a part of it."""
        base, n = self.subject.base, measurement.n
        generated, reference = self.base
        if measurement.generated != base.generated:
            generated = self._generated(measurement)
        elif n != base.n:
            generated = Pool(generated.values[:n], generated.population, generated.size, torch.arange(n))
        return generated, reference if measurement.reference == base.reference else self._reference(measurement)

    def _generated(self, measurement: Measurement) -> Pool:
        batch_size = measurement.extractor_batch
        values = self._extract(self.images(measurement), measurement, measurement.samples_stored, batch_size)
        return Pool(values, measurement.population, len(values))

    def _reference(self, measurement: Measurement) -> Pool:
        dataset = measurement.dataset.build(DATASETS)
        split, stored = dataset.load(measurement.split), measurement.reference_stored
        if (stored, measurement.resized, measurement.precision) == ("png", "png", "float32"):
            found = real_features(split, self._extractor(measurement), dataset.preprocessing, self.place)
            values = found.values.to(self.place.device)
        else:
            values = self._extract(split.images, measurement, stored, self.subject.base.extractor_batch)
        size, population = len(values), f"reference {measurement.split}"
        rows = kept(size, measurement.drop_last)
        return Pool(values if rows is None else values[rows.to(values.device)], population, size, rows)

    def _extract(self, images: Tensor, measurement: Measurement, stored: str, batch_size: int) -> Tensor:
        chunks = treated(images, (stored, measurement.resized), batch_size)
        extractor, device = self._extractor(measurement), self.place.device
        return extractor(chunks, batch_size, device, self.place.progress, len(images)).values.to(device)

    def _extractor(self, measurement: Measurement) -> Extractor:
        precision = measurement.precision
        if precision not in self._extractors:
            built: Extractor = measurement.extractor.build(EXTRACTORS)
            self._extractors[precision] = built if precision == "float32" else in_float64(built)
        return self._extractors[precision]

    def images(self, measurement: Measurement) -> Tensor:
        """uint8 [n,C,H,W]: those that were given, or the cell's."""
        cell = measurement.cell
        if cell is None:
            assert self.subject.images is not None
            return self.subject.images[: measurement.n]
        place = replace(self.place, batch_size=measurement.batch_size)
        model = place.model(cell.recipe, cell.protocol.ema, self.subject.checkpoint)
        # images of another batch size are other bits, and another checkpoint's would be drawn over the suite's
        apart = "" if measurement.batch_size == self.place.batch_size else f"-batch-{measurement.batch_size}"
        apart += "" if self.subject.checkpoint is None else f"-{model.weights[:12]}"
        return cell.samples(model, measurement.seed, place, apart).images


def kept(size: int, batch: int) -> Tensor | None:
    """The reference images that whole batches hold, None for all: the missing ones are spread over the sorted split."""
    if not batch or not size % batch:
        return None
    count = size - size % batch
    return torch.arange(count) * size // count


def in_float64(extractor: Extractor) -> Extractor:
    """A copy whose every layer computes in float64; the pixels that enter and the answer are float32."""
    twin = copy.copy(extractor)
    twin.network = copy.deepcopy(extractor.network).double()
    # torch-fidelity's Inception converts its input to this; other extractors' inputs are converted on the way in
    twin.network.feature_extractor_internal_dtype = torch.float64
    for module in twin.network.modules():
        if next(module.children(), None) is None:
            module.register_forward_pre_hook(_widened)
    return twin


def _widened(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs)
