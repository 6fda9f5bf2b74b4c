"""The base and every alternative to it, measured: a row for each move of the distance, largest first.

A treatment is what storing or resizing does to images, uint8 in and out, image by image: `jpeg-75` is Pillow's, with its
default of halved chroma; `resize-box` goes to twice the size and back with one filter, as a reference set does that was
prepared at another resolution than the samples; `pil-bicubic` is clean-fid's resize to the size that Inception takes,
antialiased where it shrinks, though clean-fid keeps floats and these are rounded to uint8. `png` is lossless, hence none.
"""

import copy
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor, nn

from replication.harness.forensics.base import Measurement
from replication.harness.forensics.choices import OF_SAMPLING, Choice
from replication.harness.forensics.move import Pair, Pool, moves
from replication.harness.journal import Record
from replication.harness.measuring import real_features
from replication.harness.provenance import provenance
from replication.harness.versions import COLUMN, INTERVAL, changes, drawn_versions, version_columns
from replication.harness.workplace import Workplace
from replication.metrics import uncertainty
from replication.metrics.extractor import Extractor
from replication.metrics.metric import metric_named
from replication.registry import DATASETS, EXTRACTORS
from replication.types import InputError

NOISE = "seed"  # nothing but the draw of the images differs, so that any move is one of chance
NOT_CHANGED = "not changed"  # the verdict on a choice that could not be
INCEPTION_SIDE = 299


def investigate(base: Measurement, choices: Mapping[str, Choice], place: Workplace) -> list[Record]:
    """A row for each alternative to the base, largest move first, and one for each choice that could not be changed.

    Sample sets are those of the state folder, drawn where they are missing. Raises InputError if data or weights are.
    """
    laboratory = Laboratory(base, place)
    laboratory.extractor.ensure()
    laboratory.dataset.load(base.protocol.reference)  # before anything is computed
    alternatives: list[tuple[str, object, object, Measurement]] = []
    unchanged: list[Record] = []
    for name, choice in choices.items():
        try:
            if name in OF_SAMPLING and base.drawn_as is None:
                raise InputError("needs a checkpoint")
            found = [(name, *change) for change in choice(base)]
            for *_, to in found:
                to.protocol.reference_count(laboratory.dataset.sizes[to.protocol.reference])
                if to.drawn_as:
                    to.cell.check()
                    place.check_weights(to.cell.recipe, to.protocol.ema, to.checkpoint)
            if not found:
                raise InputError("there is no other value")
            alternatives += found
        except InputError as reason:
            unchanged.append({"choice": name, "verdict": NOT_CHANGED, "because": str(reason)})
    measured = moves(
        laboratory.measure(base),
        [laboratory.measure(to) for *_, to in alternatives],
        base.protocol.resamples,
        place.progress,
    )
    rows: list[Record] = []
    for (name, before, after, _), move in zip(alternatives, measured, strict=True):
        verdict = {"verdict": "noise"} if name == NOISE else {}
        rows.append({"choice": name, "from": str(before), "to": str(after), **move, **verdict})
    rows.sort(key=lambda row: -abs(row["metric.move"]))
    common = {"title": base.title, "distance": laboratory.extractor.labels["fd"], **_common(base, place)}
    return [{**row, **common} for row in [*rows, *unchanged]]


def _common(base: Measurement, place: Workplace) -> Record:
    """The columns that all rows share: the base's protocol, its cell if it has one, and the provenance."""
    protocol = base.protocol
    given = {
        "cell": base.name,
        "protocol.name": protocol.name,
        "protocol.changed": protocol.changes,
        "protocol.reference": f"{base.dataset} {protocol.reference}",
        "protocol.drop_last": str(protocol.drop_last),
        "protocol.extractor": str(protocol.extractor),
    }
    if base.drawn_as:  # of the metrics of a row there is the distance alone
        given = {column: value for column, value in base.cell.columns.items() if not column.startswith(COLUMN)}
    return {
        **given,
        **version_columns(_versions(given)),
        "protocol.extractor_sha256": protocol.extractor.build(EXTRACTORS).sha256,
        "protocol.n": base.n,
        "protocol.resamples": str(protocol.resamples),
        "protocol.seeds": str(base.seed),
        **provenance(place.device),
    }


def _versions(row: Record) -> dict[str, int]:
    """Today's versions of what makes a move: the distance, its interval, and what draws images where any are drawn."""
    measured = {"fd": metric_named("fd").version, INTERVAL: uncertainty.VERSION}
    guided = row.get("sampling.guidance", "none") != "none"
    return measured | (drawn_versions(guided) if "sampling.sampler" in row else {})


def outdated(row: Record) -> dict[str, tuple[int, int]]:
    """In which versions a row is not today's: (the row's, today's)."""
    return changes({"metric.fd": row.get("metric.fd_before"), **row}, _versions(row))


class Laboratory:
    """Features of measurements around one base; what several have in common is computed once."""

    def __init__(self, base: Measurement, place: Workplace):
        self.base, self.place = base, place
        self.dataset = base.dataset.build(DATASETS)
        self.extractor: Extractor = base.protocol.extractor.build(EXTRACTORS)
        self._pools: dict[tuple[object, ...], Pool] = {}

    def measure(self, m: Measurement) -> Pair:
        """The features of both sides; of fewer images than the base's, the first of them."""
        sample_key = m.cell.sample_key if m.drawn_as else None
        drawn = (sample_key, m.seed, m.batch_size, m.samples_stored, m.resized, m.precision, m.extractor_batch)
        real = (m.protocol.reference, m.protocol.drop_last, m.reference_stored, m.resized, m.precision)
        generated, reference = self._once(drawn, self._generated, m), self._once(real, self._reference, m)
        if m.n != self.base.n:
            generated = replace(generated, values=generated.values[: m.n], rows=torch.arange(m.n))
        return generated, reference

    def _once(self, key: tuple[object, ...], pool: Callable[[Measurement], Pool], m: Measurement) -> Pool:
        if key not in self._pools:
            self._pools[key] = pool(m)
        return self._pools[key]

    def _generated(self, m: Measurement) -> Pool:
        images = self._drawn(m) if m.given is None else m.given
        values = self._features(images, m.samples_stored, m.extractor_batch, m)
        return Pool(values, f"seed {m.seed}" if m.drawn_as else "given", len(values))

    def _drawn(self, m: Measurement) -> Tensor:
        place = replace(self.place, batch_size=m.batch_size)
        model = place.model(m.cell.recipe, m.protocol.ema, m.checkpoint)
        # images of another batch size are other bits, and another checkpoint's would be drawn over the suite's
        apart = "" if m.batch_size == self.place.batch_size else f"-batch-{m.batch_size}"
        apart += "" if m.checkpoint is None else f"-{model.weights[:12]}"
        return m.cell.samples(model, m.seed, place, apart).images

    def _reference(self, m: Measurement) -> Pool:
        """Real images are extracted in one batch size; what `drop_last` leaves out is spread over the sorted split."""
        split = self.dataset.load(m.protocol.reference)
        if (m.reference_stored, m.resized, m.precision) == ("png", "png", "float32"):
            features = real_features(split, self.extractor, self.dataset.preprocessing, self.place)
            values = features.values.to(self.place.device)
        else:
            values = self._features(split.images, m.reference_stored, self.base.extractor_batch, m)
        pool = Pool(values, f"reference {m.protocol.reference}", len(values))
        if (kept := m.protocol.reference_count(pool.size)) == pool.size:
            return pool
        rows = torch.arange(kept) * pool.size // kept
        return replace(pool, values=values[rows.to(values.device)], rows=rows)

    def _features(self, images: Tensor, stored: str, batch_size: int, m: Measurement) -> Tensor:
        """[N,D] on the device."""
        extractor = self.extractor if m.precision == "float32" else self._double
        chunks = treated(images, (stored, m.resized), batch_size)
        features = extractor(chunks, batch_size, self.place.device, self.place.progress, len(images))
        return features.values.to(self.place.device)

    @cached_property
    def _double(self) -> Extractor:
        return in_float64(self.extractor)


def treated(images: Tensor, treatments: tuple[str, ...], chunk: int) -> Iterator[Tensor]:
    """uint8 [N,C,H,W] in chunks of at most `chunk`, each image through the treatments in turn."""
    lossy = [name for name in treatments if name != "png"]
    for piece in images.split(chunk):
        yield torch.stack([_treated(image, lossy) for image in piece]) if lossy else piece


def _treated(image: Tensor, treatments: list[str]) -> Tensor:
    pixels = image.permute(1, 2, 0).numpy()  # [H,W,C]
    picture: Image.Image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    for kind, _, how in (name.partition("-") for name in treatments):
        if kind == "jpeg":
            buffer = io.BytesIO()
            picture.save(buffer, format="JPEG", quality=int(how))
            picture = Image.open(buffer)
        elif kind == "resize":
            width, height = picture.size
            filter = Resampling[how.upper()]
            picture = picture.resize((2 * width, 2 * height), filter).resize((width, height), filter)
        else:
            picture = picture.resize((INCEPTION_SIDE, INCEPTION_SIDE), Resampling.BICUBIC)
    found = np.array(picture).reshape(picture.height, picture.width, -1)
    return torch.from_numpy(found).permute(2, 0, 1)


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
