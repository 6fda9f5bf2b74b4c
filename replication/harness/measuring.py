"""What jobs measure: metrics, the bound, times, the features of real images, the strip of first images."""

import io
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from replication.datasets.dataset import Dataset, Split
from replication.diffusion.bound import bits_per_dim
from replication.diffusion.denoiser import Denoiser
from replication.harness.images import ARRAY, ImageSet, open_images
from replication.harness.journal import Record
from replication.harness.protocol import Protocol
from replication.harness.provenance import provenance
from replication.harness.references import located, moments_of
from replication.harness.workplace import Workplace
from replication.metrics.extractor import Extractor
from replication.metrics.features import Features
from replication.metrics.metric import Material, evaluate
from replication.metrics.moments import arrays_in
from replication.metrics.reference import Batches, reference_features
from replication.metrics.timing import OtherWork, median_interval
from replication.metrics.uncertainty import Replicates
from replication.noise import ImageNoise
from replication.numerics import numerics
from replication.pixels import to_signed
from replication.progress import Bar
from replication.registry import DATASETS, EXTRACTORS
from replication.sampling.chunks import SampleSet
from replication.settings import Part
from replication.training.first_stage import FirstStage

Images = SampleSet | ImageSet  # n of them, read batch by batch

STRIP_IMAGES = 10
# batches that differ by no more are of one size: the chunks of a set are equally large but for one image
ONE_SIZE = 0.1
# what a row keeps where its chunks do not tell, those from before they held a floor, and the device's peak
BESIDE = ("timing.floor_seconds", "timing.peak_memory_bytes")
MACHINE = {"device": "env.device", "threads": "env.threads"}
OTHER = ("processors", "switches", "steal")  # of OtherWork, as columns
LATER = {"flags": "env.flags", "companions": "env.companions"}  # a row from before they were kept has no say in them
TRAINED = "no, trained here"  # `checkpoint.given` of weights that were not given


def real_features(split: Split, extractor: Extractor, preprocessing: str, place: Workplace) -> Features:
    """Of a split of a dataset, kept for the next time."""
    return kept_features(split.images, split.fingerprint, extractor, preprocessing, place)


def kept_features(
    images: Tensor | Batches, fingerprint: str, extractor: Extractor, preprocessing: str, place: Workplace
) -> Features:
    """Of any images that others are compared with, likewise; `fingerprint` stands for their content."""
    folder = place.state / "references"
    known = {"fingerprint": fingerprint, "preprocessing": preprocessing}
    key = extractor.name, extractor.sha256, *known.values()
    return place.reference(key, lambda: reference_features(images, extractor, folder, **known, device=place.device))


def measured(material: Material, place: Workplace) -> tuple[Record, Replicates | None]:
    """Every metric that the material suffices for: columns of the row and replicates by column, and what measured it."""
    found = evaluate(material)
    sizes: Record = {}
    if material.moments:
        n = material.moments.n or "not stated"
        sizes = {"protocol.features": len(material.moments.values.mean), "protocol.reference_n": n}
    elif material.reference:
        width = material.reference.values.shape[1]
        sizes = {"protocol.features": width, "protocol.reference_n": len(material.reference)}
    record: Record = {**sizes, **{f"metric.{name}": value for name, value in found.columns.items()}}
    values, raw = (
        {f"metric.{name}": replicates for name, replicates in of.items()} for of in (found.replicates, found.raw)
    )
    replicates = Replicates(material.draws.stream, values, raw) if values else None
    return record | provenance(place.device, "measured"), replicates


def prerequisites(
    data: Part, stage: FirstStage | None, extractor: Part, place: Workplace
) -> dict[str, Callable[[], object]]:
    """Checks that the dataset, the extractor's weights and what a first stage is trained with are there, by name."""
    dataset = data.build(DATASETS)
    needed = {str(data): lambda: dataset.load("train"), str(extractor): lambda: extractor.build(EXTRACTORS).ensure()}
    return needed | ({stage.title: lambda: place.ensure_first_stage(stage, dataset)} if stage else {})


def compared(sets: Sequence[Images], real: Dataset | ImageSet | str, protocol: Protocol, place: Workplace) -> Material:
    """Sets of images beside real ones: a split of a dataset and the other one, whatever images, or moments by their name.

    What the protocol leaves out of real images is left out; those in a file of moments count whole.
    """
    extractor, reference = protocol.extractor.build(EXTRACTORS), None
    more: dict[str, Any] = {"resamples": protocol.resamples, "device": place.device}
    if isinstance(real, Dataset):
        train, test = (
            real_features(real.load(of), extractor, protocol.preprocessing, place) for of in ("train", "test")
        )
        reference = train if protocol.reference == "train" else test
        more |= {"training": train, "held_out": test}
    elif (images := images_beside(located(real)) if isinstance(real, str) else real) is not None:
        reference = kept_features(images, images.fingerprint, extractor, "none", place)
    if isinstance(real, str):
        more["moments"] = moments_of(real)
    elif reference is not None and (kept := protocol.reference_count(len(reference))) < len(reference):
        reference = reference.part(kept)  # evenly: a split is sorted by label
    return Material([extractor(s.batches(), device=place.device, total=s.n) for s in sets], reference, **more)


def images_beside(moments: Path) -> ImageSet | None:
    """The images in a file of moments, for what is measured against images alone: ADM's have 10,000."""
    return open_images(moments) if ARRAY in arrays_in(moments) else None


def timing_columns(sets: list[SampleSet], beside: Record) -> Record:
    """Seconds per image of sampling alone, and `beside`, the columns BESIDE; nothing where another device drew all images.

    Of chunks that were drawn under several conditions, those count that most images have in common, and `batch_size`,
    env.threads, env.flags and env.companions are theirs. Of these, those without other work beside them count, if there are
    any; else the time is `disturbed`, 1, by what the columns `other_*` say. `floor_seconds` are bare evaluations beside these
    very chunks, as many as an image takes. `image_seconds` are those until there are pixels: with decoding, where the model is
    a latent one.
    """
    drawn = [t for s in sets for t in s.seconds_per_image]
    if not drawn:
        return {}
    images: Counter[tuple[tuple[int | None, str | None, str], int]] = Counter()
    for t in drawn:
        images[(t.threads, t.flags, t.companions), t.batch] += t.batch
    (under, batch), _ = images.most_common(1)[0]
    threads, flags, companions = under
    alike = [
        t for t in drawn if (t.threads, t.flags, t.companions) == under and abs(t.batch - batch) <= ONE_SIZE * batch
    ]
    quiet = [t for t in alike if not t.disturbed]
    seconds = quiet or alike
    seen = [t.other_work for t in seconds if t.other_work]
    floors = [t.floor for t in seconds if t.floor is not None]
    median, low, high = median_interval([t.sampling for t in seconds])
    whole, whole_low, whole_high = median_interval([t.image for t in seconds])
    return {
        "timing.seconds_per_image": median,
        "timing.seconds_low": low,
        "timing.seconds_high": high,
        "timing.images_per_second": 1 / median,
        "timing.decoding_seconds": statistics.median(t.decoding for t in seconds),
        "timing.image_seconds": whole,
        "timing.image_seconds_low": whole_low,
        "timing.image_seconds_high": whole_high,
        "timing.chunks": len(seconds),
        "timing.batch_size": batch,
        **beside,
        **({"timing.floor_seconds": sets[0].nfe * min(floors)} if floors else {}),
        **({"env.threads": str(threads)} if threads is not None else {}),
        **({"env.flags": flags, "env.companions": companions} if flags is not None else {}),
        **other_work_columns(seen),
    }


def other_work_columns(beside: Sequence[OtherWork]) -> Record:
    """What the machine did besides what a row's time is of, and whether that is in it; nothing where that was not seen."""
    if not beside:
        return {}
    disturbed = {"timing.disturbed": int(any(work.disturbs for work in beside))}
    return disturbed | {f"timing.other_{name}": statistics.median(getattr(w, name) for w in beside) for name in OTHER}


def unlike_times(records: Sequence[Record]) -> list[str]:
    """Why times of rows do not compare: unlike conditions, and other work beside some of them; empty if they do."""
    found = unlike_conditions(records)
    if beside := most_disturbing(records):
        labels = (" x ".join(str(r[c]) for c in ("label", "sampling.steps") if c in r) for r in disturbed_rows(records))
        names = dict.fromkeys(labels)
        found.append(f"{beside} beside the timing of {', '.join(names)}: draw on a quiet machine")
    return found


def most_disturbing(records: Sequence[Record]) -> OtherWork | None:
    """The other work that took most processors beside the timing of these rows; None where nothing disturbed."""
    worst = max(disturbed_rows(records), key=lambda record: record["timing.other_processors"], default=None)
    if worst is None:
        return None
    return OtherWork(**{name: worst.get(f"timing.other_{name}", 0.0) for name in OTHER}, disturbs=True)


def disturbed_rows(records: Sequence[Record]) -> list[Record]:
    """The rows beside whose timing there was other work that says something of it."""
    return [record for record in records if record.get("timing.disturbed")]


def unlike_conditions(records: Sequence[Record]) -> list[str]:
    """In which conditions that change a time and no image rows differ, "batch size 1 against 16".

    A row from before its batch size was kept has no say in that.
    """
    values = {name: dict.fromkeys(record.get(column) for record in records) for name, column in MACHINE.items()}
    values |= {name: dict.fromkeys(r[column] for r in records if column in r) for name, column in LATER.items()}
    found = [f"{name} {' against '.join(map(str, of))}" for name, of in values.items() if len(of) > 1]
    sizes = sorted({record["timing.batch_size"] for record in records if "timing.batch_size" in record})
    if sizes and sizes[-1] - sizes[0] > ONE_SIZE * sizes[-1]:
        found.append(f"batch size {sizes[0]} against {sizes[-1]}")
    return found


def bits_of(denoiser: Denoiser, variance: str, images: Tensor, protocol: Protocol, place: Workplace) -> Tensor:
    """The bound in bits/dim of uint8 images, each with its own noise: float64 [n], as many as the protocol asks for."""
    # evenly through the sorted order, so that every class is there
    count = protocol.bound_images(len(images))
    images = images[torch.arange(count) * len(images) // count]
    pieces = []
    with Bar(count, "NLL", "image", enabled=place.progress) as shown, numerics(protocol.precision, place.device):
        for start in range(0, count, place.batch_size):
            batch = images[start : start + place.batch_size].to(place.device)
            noise = ImageNoise(0, torch.arange(start, start + len(batch)), place.device)
            pieces.append(bits_per_dim(denoiser, variance, to_signed(batch, torch.float64), noise).cpu())
            shown.update(len(batch))
    return torch.cat(pieces)


def strip_png(images: Tensor) -> bytes:
    """uint8 [N,C,H,W] side by side, as the bytes of a PNG."""
    buffer = io.BytesIO()
    strip(images).save(buffer, format="PNG")
    return buffer.getvalue()


def strip(images: Tensor) -> Image.Image:
    """uint8 [N,C,H,W] side by side."""
    row = torch.cat(list(images), dim=2).permute(1, 2, 0)  # [H,N*W,C]
    return Image.fromarray(row.squeeze(2).numpy() if row.shape[2] == 1 else row.numpy())
