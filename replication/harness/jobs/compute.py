"""One cell, computed: checkpoint -> images -> features -> metrics -> row."""

import io
import statistics

import torch
from PIL import Image
from torch import Tensor

from replication.datasets.content import Split
from replication.diffusion.bound import bits_per_dim
from replication.diffusion.denoiser import Denoiser
from replication.harness.costs import costs
from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.harness.provenance import device_name, provenance
from replication.harness.workplace import Model, Workplace
from replication.metrics.class_accuracy import class_accuracy
from replication.metrics.evaluation import evaluate
from replication.metrics.extractor import Extractor
from replication.metrics.features import Features
from replication.metrics.memorisation import memorisation
from replication.metrics.reference import reference_features
from replication.metrics.timing import median_interval, peak_memory, repeated, reset_peak_memory
from replication.noise import ImageNoise
from replication.numerics import numerics
from replication.pixels import to_signed
from replication.progress import bar
from replication.registry import EXTRACTORS
from replication.sampling.generation import SamplePlace, SampleRequest, Source, generate
from replication.sampling.sample_set import SampleSet
from replication.training.train import FIRST_STAGE

STRIP_IMAGES = 10
TRAINED = "no, trained here"  # what a row says of weights that were not given
FLOOR_REPEATS = 10  # before and after sampling each


def compute(cell: Cell, place: Workplace) -> tuple[Record, bytes]:
    """(row, PNG of the first images). What has been computed of it before is used."""
    model = place.model(cell.recipe, cell.protocol.ema)
    reset_peak_memory(place.device)
    floor = _floor(cell, model, place)
    sets = [samples(cell, model, seed, place) for seed in cell.protocol.seeds]
    floor += _floor(cell, model, place)
    memory = peak_memory(place.device)
    record: Record = {
        **described(cell),
        "checkpoint.sha256": model.sha256["checkpoint"],
        "checkpoint.given": model.given["checkpoint"] or TRAINED,
        "checkpoint.first_stage_sha256": model.sha256.get(FIRST_STAGE, "none"),
        "checkpoint.first_stage_given": model.given.get(FIRST_STAGE) or TRAINED,
        "sampling.nfe": sets[0].nfe,
        **costs(cell.recipe, sets[0].nfe),
        **_metrics(cell, sets, place),
        **_timing(sets, floor, memory),
    }
    if cell.nll is not None:
        record["metric.nll"], record["metric.nll_se"], record["metric.nll_images"] = _nll(cell, model.denoiser, place)
    record |= provenance(place.device)
    return record, strip_png(sets[0].first(STRIP_IMAGES))


def described(cell: Cell) -> Record:
    """The columns that say what a cell is, not what came of it."""
    recipe, training, protocol = cell.recipe, cell.recipe.training, cell.protocol
    return {
        "experiment": cell.experiment,
        "profile": cell.profile,
        "cell": cell.key,
        "label": cell.label,
        "sampling.sampler": str(cell.sampling.sampler),
        "sampling.spacing": str(cell.sampling.spacing),
        "sampling.steps": cell.sampling.steps,
        "sampling.clip": cell.sampling.clip,
        "sampling.guidance": str(cell.sampling.guidance or "none"),
        "sampling.nll_variance": cell.nll or "none",
        "recipe.key": recipe.key,
        "recipe.dataset": str(recipe.dataset),
        "recipe.fingerprint": recipe.build_dataset().fingerprints["train"],
        "recipe.first_stage": recipe.first_stage.title if recipe.first_stage else "none",
        "recipe.network": str(recipe.network),
        "recipe.schedule": str(recipe.schedule),
        "recipe.parameterization": recipe.parameterization,
        "recipe.objective": str(recipe.objective),
        "recipe.condition": str(recipe.condition or "none"),
        **{f"recipe.{name}": str(value) for name, value in training.model_dump().items()},
        "protocol.name": protocol.name,
        "protocol.changed": protocol.changes or "nothing",
        "protocol.n": protocol.n,
        "protocol.seeds": " ".join(map(str, protocol.seeds)),
        "protocol.ema": str(protocol.ema).lower(),
        "protocol.quantizer": protocol.quantizer,
        "protocol.reference": f"{recipe.dataset} {protocol.reference}",
        "protocol.preprocessing": protocol.preprocessing,
        "protocol.drop_last": str(protocol.drop_last),
        "protocol.extractor": str(protocol.extractor),
        "protocol.extractor_sha256": protocol.extractor.build(EXTRACTORS).sha256,
        "protocol.labels": protocol.labels if recipe.condition else "none: unconditional",
        "protocol.precision": protocol.precision,
        "protocol.resamples": str(protocol.resamples),
        "protocol.nll_images": str(protocol.nll_images),
    }


def samples(cell: Cell, model: Model, seed: int, place: Workplace, apart: str = "") -> SampleSet:
    """The cell's images of one seed, from the chunks under the state folder or drawn now; `apart` gives them others."""
    protocol, cond = cell.protocol, cell.cond(seed, place.device)
    encoded = (lambda start, stop: model.encode(cond(start, stop))) if cond else None
    request = SampleRequest(cell.sampling, protocol.n, seed, encoded, protocol.quantizer, protocol.precision)
    folder = place.state / "samples" / f"{cell.sample_key}{apart}" / f"seed-{seed}"
    where = SamplePlace(folder, place.batch_size, place.device, device_name(place.device), place.progress)
    return generate(source(cell, model, place.device), request, where)


def source(cell: Cell, model: Model, device: torch.device) -> Source:
    """What the cell's images are drawn from: the model, guided as the cell is."""
    null = cell.recipe.null(1, device)
    denoise = model.denoiser if null is None else cell.guided(model.denoiser, model.encode(null)[0])
    return Source(denoise, cell.recipe.latent_shape(), model.autoencoder.decode, model.weights)


def _metrics(cell: Cell, sets: list[SampleSet], place: Workplace) -> Record:
    protocol, dataset = cell.protocol, cell.recipe.build_dataset()
    extractor = protocol.extractor.build(EXTRACTORS)
    real = {
        split: real_features(dataset.load(split), extractor, protocol.preprocessing, place)
        for split in ("train", "test")
    }
    whole = real[protocol.reference]
    kept = protocol.reference_count(len(whole))
    # a split is sorted by label, so what is left out is taken evenly from the whole of it
    reference = whole if kept == len(whole) else whole[torch.arange(kept) * len(whole) // kept]
    generated = [extractor(s.batches(), device=place.device, total=s.n) for s in sets]
    values = evaluate(generated, reference, protocol.resamples, device=place.device)
    values |= memorisation(torch.cat([g.values for g in generated]), real["train"].values, real["test"].values)
    if cell.recipe.condition:
        values |= _class_accuracy(cell, sets, place)
    return {f"metric.{name}": value for name, value in values.items()}


def _class_accuracy(cell: Cell, sets: list[SampleSet], place: Workplace) -> dict[str, float]:
    """By the classifier that ships for the dataset, whatever the distance's extractor is; nothing where none does."""
    dataset, n = cell.recipe.build_dataset().name, cell.protocol.n
    classifiers = (EXTRACTORS.build(name) for name in EXTRACTORS.names())
    classifier = next((c for c in classifiers if c.classifies == dataset), None)
    if classifier is None:
        return {}
    logits = [classifier(s.batches(), device=place.device, total=n).parts()["logits"] for s in sets]
    asked = [cell.labels(seed, 0, n) for seed in cell.protocol.seeds]
    return class_accuracy(torch.cat(logits), torch.cat(asked))


def real_features(split: Split, extractor: Extractor, preprocessing: str, place: Workplace) -> Features:
    return reference_features(
        split.images,
        extractor,
        place.state / "references",
        fingerprint=split.fingerprint,
        preprocessing=preprocessing,
        device=place.device,
    )


def _timing(sets: list[SampleSet], floor: list[float], memory: int) -> Record:
    """Seconds per image of sampling alone; the floor is its bare forward passes at the fastest that was seen of one.

    `image_seconds` are those until there are pixels: with decoding, where the model is a latent one.
    """
    seconds = [t for s in sets for t in s.seconds_per_image]
    if not seconds:
        return {}  # another device drew them all: its time says nothing here
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
        "timing.floor_seconds": sets[0].nfe * min(floor),
        "timing.chunks": len(seconds),
        "timing.peak_memory_bytes": memory,
    }


def _floor(cell: Cell, model: Model, place: Workplace) -> list[float]:
    """Seconds per image of one bare network evaluation."""
    rounds = -(-cell.protocol.n // place.batch_size)
    size = -(-cell.protocol.n // rounds)
    x = torch.zeros(size, *cell.recipe.latent_shape(), device=place.device)
    timestep, null = torch.zeros(size, device=place.device), cell.recipe.null(size, place.device)
    cond = None if null is None else model.encode(null)
    with torch.no_grad(), numerics(cell.protocol.precision, place.device):
        seconds = repeated(lambda: model.denoiser.network(x, timestep, cond), place.device, FLOOR_REPEATS)
    return [s / size for s in seconds]


def _nll(cell: Cell, denoiser: Denoiser, place: Workplace) -> tuple[float, float, int]:
    """(mean, standard error, count) of the bound in bits/dim over test images, each with its own noise."""
    assert cell.nll is not None
    images = cell.recipe.build_dataset().load("test").images
    # evenly through the sorted order, so that every class is there
    count = min(max(cell.protocol.nll_images, 2) if cell.protocol.nll_images else len(images), len(images))
    images = images[torch.arange(count) * len(images) // count]
    pieces = []
    with bar(count, "NLL", "image", enabled=place.progress) as shown, numerics(cell.protocol.precision, place.device):
        for start in range(0, count, place.batch_size):
            batch = images[start : start + place.batch_size].to(place.device)
            noise = ImageNoise(0, torch.arange(start, start + len(batch)), place.device)
            pieces.append(bits_per_dim(denoiser, cell.nll, to_signed(batch, torch.float64), noise).cpu())
            shown.update(len(batch))
    bits = torch.cat(pieces)
    return float(bits.mean()), float(bits.std() / count**0.5), count


def strip_png(images: Tensor) -> bytes:
    """uint8 [N,C,H,W] side by side, as the bytes of a PNG."""
    buffer = io.BytesIO()
    strip(images).save(buffer, format="PNG")
    return buffer.getvalue()


def strip(images: Tensor) -> Image.Image:
    """uint8 [N,C,H,W] side by side."""
    row = torch.cat(list(images), dim=2).permute(1, 2, 0)  # [H,N*W,C]
    return Image.fromarray(row.squeeze(2).numpy() if row.shape[2] == 1 else row.numpy())
