"""Choices after sampling: what is done to the images, to the reference, and in the extractor."""

from collections.abc import Iterator
from dataclasses import replace

from replication.harness.forensics.choice import Alternative, Choice, Inapplicable
from replication.harness.forensics.measurement import Extraction, Measurement
from replication.harness.forensics.treatment import FILTERS
from replication.metrics.evaluation import LEAST_IMAGES
from replication.registry import DATASETS

ROUND = (10, 50, 100, 500, 1000, 5000, 10_000, 50_000)
WHOLE_BATCH = 64  # of the DDIM code's sampling: n // 64 batches are drawn
QUALITIES = ("jpeg-95", "jpeg-75")


def count(base: Measurement) -> Iterator[Alternative]:
    """The first images of the same set: the two largest round numbers below n, and whole batches alone."""
    n = base.samples.n
    rounds = [number for number in ROUND if LEAST_IMAGES <= number < n][-2:]
    whole = n - n % WHOLE_BATCH
    for after in (*([whole] if LEAST_IMAGES <= whole < n else []), *reversed(rounds)):
        yield Alternative("n", f"{n:,}", f"{after:,}", replace(base, samples=replace(base.samples, n=after)))


def stored_samples(base: Measurement) -> Iterator[Alternative]:
    if base.samples.came_as_jpeg:
        raise Inapplicable("the images came as JPEG, and what that took from them is gone")
    for after in QUALITIES:
        to = replace(base, samples=replace(base.samples, stored=after))
        yield Alternative("samples stored", base.samples.stored, after, to)


def stored_reference(base: Measurement) -> Iterator[Alternative]:
    for after in QUALITIES:
        to = replace(base, reference=replace(base.reference, stored=after))
        yield Alternative("reference stored", base.reference.stored, after, to)


def split(base: Measurement) -> Iterator[Alternative]:
    sizes = base.reference.dataset.build(DATASETS).sizes
    before = base.reference.split
    for after in sorted(set(sizes) - {before}):
        names = {name: f"{name} ({sizes[name]:,})" for name in (before, after)}
        yield Alternative(
            "reference", names[before], names[after], replace(base, reference=replace(base.reference, split=after))
        )


def last_batch(base: Measurement) -> Iterator[Alternative]:
    """Left out evenly: published code reads files in which the classes are mixed, not a sorted split."""
    before = base.reference.drop_last
    names = {0: "kept", 128: "dropped (128)", 256: "dropped (256)"}
    for after, name in names.items():
        if after != before:
            to = replace(base, reference=replace(base.reference, drop_last=after))
            yield Alternative("last partial batch", names.get(before, f"dropped ({before})"), name, to)


def resize_reference(base: Measurement) -> Iterator[Alternative]:
    for filter in FILTERS:
        to = replace(base, reference=replace(base.reference, stored=f"resize-{filter}"))
        yield Alternative("reference resized", "never", f"x2 and back, {filter}", to)


def extractor_resize(base: Measurement) -> Iterator[Alternative]:
    if not base.extraction.extractor.name.startswith("inception"):
        raise Inapplicable("needs an Inception extractor")
    yield Alternative("extractor's resize", "TF1 bilinear", "PIL bicubic", _extraction(base, resize="pil-bicubic"))


def extractor_precision(base: Measurement) -> Iterator[Alternative]:
    yield Alternative("extractor precision", "float32", "float64", _extraction(base, precision="float64"))


def extractor_batch(base: Measurement) -> Iterator[Alternative]:
    before = base.extraction.batch_size
    for after in (1, 32):
        yield Alternative("extractor batch", str(before), str(after), _extraction(base, batch_size=after))


def _extraction(base: Measurement, **changes: object) -> Measurement:
    extraction: Extraction = replace(base.extraction, **changes)  # type: ignore[arg-type]
    return replace(base, extraction=extraction)


MEASURING = (
    Choice("n", "k-diffusion #51, DiT #94: 2,000 to 10,000, not 50,000; DDIM's code: whole batches of 64", count),
    Choice("samples stored", "DDPM-IP #31: 2.50 with PNG, 5.80 with JPEG", stored_samples),
    Choice(
        "reference stored",
        "improved-diffusion #106, DDPM-IP #31, LFM #11: a reference set kept as JPEG",
        stored_reference,
    ),
    Choice("reference", "DDPM prints both: 3.17 against training images, 5.24 against test images", split),
    Choice(
        "last partial batch",
        "DDPM's datasets.py:52: drop_remainder leaves 49,920 of 50,000 reference images",
        last_batch,
    ),
    Choice(
        "reference resized",
        "latent-diffusion #253, clean-fid: a reference prepared with another filter",
        resize_reference,
    ),
    Choice(
        "extractor's resize",
        "clean-fid: PIL bicubic, antialiased, in place of TensorFlow 1's bilinear",
        extractor_resize,
    ),
    Choice(
        "extractor precision",
        "torch-fidelity #43; its own option for it computes in float32 in 0.4.0",
        extractor_precision,
    ),
    Choice("extractor batch", "torch-fidelity #43: a float32 Inception depends on the batch size", extractor_batch),
)
