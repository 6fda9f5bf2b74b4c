"""From a measurement to its two sets of features, with what the base has in common with it computed once."""

import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from replication.harness.forensics.measurement import Extraction, Measurement, Reference, Samples
from replication.harness.forensics.move import Pair, Pool
from replication.harness.forensics.subject import Subject
from replication.harness.forensics.treatment import treated
from replication.harness.workplace import Workplace
from replication.metrics.extractor import Extractor
from replication.metrics.reference import reference_features
from replication.registry import DATASETS, EXTRACTORS
from replication.sampling.sample_set import SampleSet


class Laboratory:
    """Measures around one subject; sample sets are those of the state folder, drawn where they are missing."""

    def __init__(self, subject: Subject, place: Workplace):
        self.subject, self.place = subject, place
        self._extractors: dict[str, Extractor] = {}  # by precision: float64 is another copy of the network

    @cached_property
    def base(self) -> Pair:
        base = self.subject.base
        return self._generated(base), self._reference(base.reference, base.extraction)

    def measure(self, measurement: Measurement) -> Pair:
        """The features of both sides; the base's own where a side is the base's, or a part of it."""
        base = self.subject.base
        # the reference keeps the base's batch size: people read it from a file that was computed once
        extraction = replace(measurement.extraction, batch_size=base.extraction.batch_size)
        same_reference = (measurement.reference, extraction) == (base.reference, base.extraction)
        whole = replace(measurement.samples, n=base.samples.n)
        if (whole, measurement.extraction) == (base.samples, base.extraction):
            generated = _first(measurement.samples.n, self.base[0])
        else:
            generated = self._generated(measurement)
        return generated, self.base[1] if same_reference else self._reference(measurement.reference, extraction)

    def _generated(self, measurement: Measurement) -> Pool:
        setting = measurement.samples
        values = self._extract(self.images(setting), measurement.extraction, setting.stored)
        return Pool(values, setting.population, len(values))

    def _reference(self, setting: Reference, extraction: Extraction) -> Pool:
        dataset = setting.dataset.build(DATASETS)
        split = dataset.load(setting.split)
        if setting.stored == "png" and extraction == self.subject.base.extraction:
            folder, device = self.place.state / "references", self.place.device
            found = reference_features(
                split.images,
                self._extractor(extraction),
                folder,
                fingerprint=split.fingerprint,
                preprocessing=dataset.preprocessing,  # as a sweep does, so that the two share their cache
                device=device,
            )
            values = found.values.to(device)
        else:
            values = self._extract(split.images, extraction, setting.stored)
        rows = kept(setting, len(values))
        size = len(values)
        return Pool(
            values if rows is None else values[rows.to(values.device)], f"reference {setting.split}", size, rows
        )

    def _extract(self, images: Tensor, extraction: Extraction, stored: str) -> Tensor:
        chunks = treated(images, (stored, extraction.resize), extraction.batch_size)
        extractor, device = self._extractor(extraction), self.place.device
        return extractor(chunks, extraction.batch_size, device, self.place.progress, len(images)).values.to(device)

    def _extractor(self, extraction: Extraction) -> Extractor:
        if extraction.precision not in self._extractors:
            built: Extractor = self.subject.base.extraction.extractor.build(EXTRACTORS)
            self._extractors[extraction.precision] = built if extraction.precision == "float32" else in_float64(built)
        return self._extractors[extraction.precision]

    def images(self, setting: Samples) -> Tensor:
        """uint8 [n,C,H,W]: those that were given, or the cell's."""
        if setting.cell is None:
            assert self.subject.images is not None
            return self.subject.images[: setting.n]
        return self._drawn(setting).images

    def _drawn(self, setting: Samples) -> SampleSet:
        cell = setting.cell
        assert cell is not None
        place = replace(self.place, batch_size=setting.batch_size)
        model = place.model(cell.recipe, cell.protocol.ema, self.subject.checkpoint)
        # images of another batch size are other bits, and another checkpoint's would be drawn over the suite's
        apart = "" if setting.batch_size == self.place.batch_size else f"-batch-{setting.batch_size}"
        apart += "" if self.subject.checkpoint is None else f"-{model.weights[:12]}"
        return cell.samples(model, setting.seed, place, apart)


def _first(n: int, pool: Pool) -> Pool:
    """The first n images of a whole pool."""
    return pool if n == pool.size else Pool(pool.values[:n], pool.population, pool.size, torch.arange(n))


def kept(setting: Reference, size: int) -> Tensor | None:
    """The reference images that whole batches hold, None for all: the missing ones are spread over the sorted split."""
    if not setting.drop_last or not size % setting.drop_last:
        return None
    count = size - size % setting.drop_last
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
