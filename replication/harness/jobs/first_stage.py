"""One first stage, measured: its reconstructions of the test images. One row of the table of first stages.

The paper's rFID is the Fréchet distance between images and their reconstructions (Rombach et al. 2022, table 8); here as
there latents are drawn from the posterior, with noise that belongs to the image.
"""

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from replication import pixels
from replication.harness.expected import Ahead
from replication.harness.experiment import Experiment
from replication.harness.job import Job
from replication.harness.journal import Computed, Record
from replication.harness.measuring import (
    STRIP_IMAGES,
    TRAINED,
    measured,
    other_work_columns,
    prerequisites,
    real_features,
    strip_png,
)
from replication.harness.passes import of_extractor, of_stage
from replication.harness.provenance import provenance
from replication.harness.table import NOT_RUN, Column, TableSpec, metrics_in
from replication.harness.versions import metric_versions
from replication.harness.workplace import PlannedTraining, Workplace, trainings_of_stage
from replication.ldm.autoencoder import Autoencoder
from replication.metrics.metric import RECONSTRUCTIONS, Material
from replication.metrics.timing import OtherWork, undisturbed
from replication.noise import ImageNoise
from replication.numerics import numerics
from replication.pixels import quantize, to_signed
from replication.progress import Bar
from replication.registry import DATASETS, EXTRACTORS, JOBS
from replication.settings import Part
from replication.training.first_stage import FirstStage
from replication.types import InputError

TIMED = 9  # reconstructions of one batch
SEED = 0
DEPENDS = ("quantizer", "extractor", "precision", "resamples")  # what of a protocol reconstructions depend on
# parts of a Material that reconstructions are not
WITHOUT = ("samples", "sample_logits", "spatial", "logits", "prompted", "bits", "training", "held_out")
COLUMNS = ("name", "n", "quantizer", "reference", "extractor", "precision", "resamples")  # of it in their rows

TABLE = TableSpec(
    RECONSTRUCTIONS,
    (
        Column("first stage", "label"),
        Column("latent", "first_stage.latent"),
        Column("parameters", "first_stage.parameters", "{:,.0f}"),
        Column("r{fd}", "metric.fd", "{:.3g}", spread="interval", absent=NOT_RUN),
        *metrics_in(RECONSTRUCTIONS),
        Column("scale", "first_stage.scale", "{:.4g}"),
        Column("ms/image", "timing.seconds_per_image", "{:.3g}", 1000),
        Column("paper's rFID", "paper.fd", "{:g}"),
        Column("dataset of the paper's", "paper.dataset"),
        Column("source", "paper.source"),
    ),
)


class FirstStageCell(Job):
    """A first stage on the test images of a dataset."""

    tables: ClassVar = (TABLE,)
    picture: ClassVar = (
        "reconstructions",
        "Reconstructions",
        "test images, and below them what each first stage makes of them",
    )
    picture_rows: ClassVar = 2

    first_stage: FirstStage
    dataset: Part

    @property
    def title(self) -> str:
        return f"first stage {self.label}"

    @property
    def caption(self) -> str:
        return f"{self.label}\noriginals, above"

    def build_dataset(self) -> Any:
        return self.dataset.build(DATASETS)

    def identity(self) -> dict[str, Any]:
        fingerprints, protocol = self.build_dataset().fingerprints, self.protocol.identity()
        return {
            "profile": self.profile,
            "first_stage": self.first_stage.identity(self.build_dataset()),
            "test": fingerprints["test"],
            "protocol": {key: protocol[key] for key in DEPENDS},
        }

    def versions(self) -> dict[str, int]:
        return {**metric_versions(WITHOUT, self.protocol.extractor.name), "quantizer": pixels.VERSION}

    def described(self) -> Record:
        stage, dataset, fingerprint = self.first_stage, self.build_dataset(), self.build_dataset().fingerprints["train"]
        channels, height, width = stage.latent_shape((dataset.channels, dataset.resolution, dataset.resolution))
        parts = {"autoencoder": stage.autoencoder, **dict(stage.loss), **dict(stage.training)}
        return {
            "first_stage.key": stage.key(dataset),
            "first_stage.dataset": str(self.dataset),
            "first_stage.fingerprint": fingerprint,
            "first_stage.latent": f"{height}x{width}x{channels}",
            **{f"first_stage.{name}": str(value) for name, value in parts.items()},
            **self.protocol.columns(COLUMNS, n=dataset.sizes["test"], reference=f"{self.dataset} test"),
        }

    def prerequisites(self, place: Workplace) -> Mapping[str, Callable[[], object]]:
        return prerequisites(self.dataset, self.first_stage, self.protocol.extractor, place)

    def trainings(self, place: Workplace) -> list[PlannedTraining]:
        return trainings_of_stage(self.first_stage, self.build_dataset(), place)

    def ahead(self, place: Workplace) -> Ahead:
        dataset, protocol, stage = self.build_dataset(), self.protocol, self.first_stage
        n = dataset.sizes["test"]  # 0 of a set that nobody has brought
        batch = max(1, min(place.batch_size, n))
        made, features = of_stage("reconstruct", stage, dataset, batch), of_extractor(protocol.extractor, batch)
        return Ahead(
            str(stage.autoencoder),
            protocol.precision,
            drawing=made.work * (1 / batch),
            measuring=made.work * ((n + TIMED * batch) / batch) + features.work * (n / batch),
            memory=made.weights(protocol.precision, place.device) + max(made.memory, features.memory * 2 * n // batch),
        )

    def measured_again(self, row: Record, place: Workplace) -> Computed | None:
        """Reconstructions are not kept: they are made again where the first stage is there already."""
        there = place.stage_snapshots(self.first_stage, self.build_dataset()).found(self.first_stage.training.steps)
        return self.compute(place) if there else None

    def compute(self, place: Workplace) -> Computed:
        """Its strip shows test images above their reconstructions."""
        dataset = self.build_dataset()
        autoencoder, sha256, given = place.autoencoder(self.first_stage, dataset)
        originals = dataset.load("test")
        with numerics(self.protocol.precision, place.device):
            images, counts, seconds, other_work = _reconstructed(autoencoder, originals.images, self, place)
        extractor = self.protocol.extractor.build(EXTRACTORS)
        material = Material(
            [extractor(images, device=place.device)],
            real_features(originals, extractor, self.protocol.preprocessing, place),
            paired=True,
            originals=originals.images,
            reconstructions=images,
            codes=counts if autoencoder.codebook_size else None,
            resamples=self.protocol.resamples,
            device=place.device,
        )
        figures, replicates = measured(material, place)
        record: Record = {
            **self.columns,
            "first_stage.f": autoencoder.f,
            "first_stage.parameters": sum(p.numel() for p in autoencoder.parameters()),
            "first_stage.scale": float(autoencoder.scale),
            "protocol.extractor_sha256": extractor.sha256,
            "checkpoint.sha256": sha256,
            "checkpoint.given": given or TRAINED,
            **figures,
            "timing.seconds_per_image": statistics.median(seconds),
            "timing.batch_size": min(place.batch_size, len(images)),
            **other_work_columns([other_work] if other_work else []),
            **provenance(place.device),
        }
        shown = torch.arange(STRIP_IMAGES) * len(images) // STRIP_IMAGES  # a split is sorted by label
        strip = strip_png(torch.cat([originals.images[shown], images[shown]], dim=2))
        return Computed(record, strip, replicates)


@JOBS.register("first stage")
def first_stage_cells(experiment: Experiment, profile_name: str, check: bool = True) -> list[FirstStageCell]:
    """The first stages of a profile: reconstructions of test images, measured.

    Raises InputError naming the one and what is wrong in it.
    """
    profile = experiment.profile(profile_name)
    cells = []
    for name, row in profile.first_stages.items():
        part = row.dataset or profile.recipe.dataset
        try:
            dataset = part.build(DATASETS)
            first_stage = row.first_stage.completed(dataset)
            first_stage.key(dataset)  # which builds every part that it names
            if check:
                first_stage.check(dataset)
            published = experiment.published(row)
        except InputError as error:
            raise InputError(f"{experiment.path}: profiles.{profile_name}.first_stages.{name}: {error}") from error
        cells.append(
            FirstStageCell(
                experiment=experiment.name,
                profile=profile_name,
                label=name,
                first_stage=first_stage,
                dataset=part,
                protocol=profile.protocol,
                published=published,
            )
        )
    return cells


@torch.no_grad()
def _reconstructed(
    autoencoder: Autoencoder, images: Tensor, cell: FirstStageCell, place: Workplace
) -> tuple[Tensor, Tensor, list[float], OtherWork | None]:
    """uint8 [N,C,H,W], how often each entry of the codebook was chosen, and of the first batch seconds per image and what
    else the machine did meanwhile."""
    pieces, counts = [], torch.zeros(autoencoder.codebook_size, dtype=torch.int64)
    seconds, other_work = list[float](), None
    with Bar(len(images), f"reconstructing, {cell.label}", "image", enabled=place.progress) as shown:
        for start in range(0, len(images), place.batch_size):
            x = to_signed(images[start : start + place.batch_size].to(place.device))
            noise = ImageNoise(SEED, torch.arange(start, start + len(x)), place.device)
            drawn = noise.prior((len(x), *autoencoder.latent_shape((x.shape[1], x.shape[2], x.shape[3]))))
            if start == 0:
                whole, other_work = undisturbed(partial(autoencoder.reconstruct, x, drawn), place.device, TIMED)
                seconds = [s / len(x) for s in whole]
                place.deadline.require(statistics.median(seconds) * len(images), cell.title)
            made = autoencoder.reconstruct(x, drawn)
            pieces.append(quantize(made.x.float(), cell.protocol.quantizer).cpu())
            if made.codes is not None:
                counts += torch.bincount(made.codes.flatten().cpu(), minlength=len(counts))
            shown.update(len(x))
    return torch.cat(pieces), counts, seconds, other_work
