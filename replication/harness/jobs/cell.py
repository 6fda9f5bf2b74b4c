"""A cell: one point of a sweep, a checkpoint + a sampling setting + a protocol. One cell = one row = one MLflow run.

Computed, it goes from the checkpoint to images, to features, to metrics, to the row. Its costs are those of the counter of
replication/cost.py: what reads the condition is part of the network, decoding a latent is not.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from replication import cost
from replication.conditions.captions import Captioned, caption_numbers, captions
from replication.diffusion.forward import VARIANCES
from replication.diffusion.guidance import ClassifierGuided
from replication.harness.clip_pair import ClipPair, clip_pair
from replication.harness.drawn import Drawn
from replication.harness.expected import Ahead
from replication.harness.experiment import Experiment
from replication.harness.job import of_row
from replication.harness.jobs.first_stage import first_stage_cells
from replication.harness.journal import Computed, Record
from replication.harness.measuring import (
    BESIDE,
    STRIP_IMAGES,
    TRAINED,
    bits_of,
    compared,
    images_beside,
    measured,
    prerequisites,
    strip_png,
    timing_columns,
)
from replication.harness.passes import FLOAT, of_extractor, of_network, of_stage, of_step
from replication.harness.protocol import Protocol
from replication.harness.provenance import provenance
from replication.harness.references import located, moments_of
from replication.harness.table import CELL_TABLES
from replication.harness.versions import DRAWN, TIMING, changes, lacking, metric_of, metric_versions
from replication.harness.workplace import FIRST_STAGE, Model, PlannedTraining, Workplace, trainings_of_recipe
from replication.metrics import timing
from replication.metrics.metric import Material, metrics
from replication.metrics.timing import Together, peak_memory, reset_peak_memory
from replication.metrics.without_reference import image_rms
from replication.pixels import QUANTIZERS
from replication.registry import EXTRACTORS, JOBS, SAMPLERS, one_of
from replication.sampling.chunks import SampleSet
from replication.sampling.generation import Guidance, Sampling
from replication.training.recipe import Recipe, takes_null
from replication.types import InputError

NO_SAMPLES = ("reconstructions", "originals", "codes")  # parts of a Material that a cell never has
SAMPLES = "checkpoint.samples"  # the column of a row with the name of its images' folder
MEASURING_SECONDS = 10.0  # before a deadline, for decoding, features, metrics and resampling
OF_DRAWING = ("checkpoint.", "env.")  # columns of a row's first stage that its chunks do not tell


class Cell(Drawn):
    """A sampling setting of a checkpoint, measured.

    beside: the cell whose images, of the same noise, each of its own is compared with.
    """

    tables: ClassVar = CELL_TABLES
    picture: ClassVar = ("samples", "Samples", "samples, one line per row of the table")

    nll: str | None
    beside: "Cell | None" = None

    def identity(self) -> dict[str, Any]:
        return {
            "profile": self.profile,
            "samples": self._samples,
            "protocol": self.protocol.spelled,
            "nll": self.nll,
            **({"beside": self.beside._samples} if self.beside else {}),
        }

    def versions(self) -> dict[str, int]:
        without = {*NO_SAMPLES, *(() if self.nll else ("bits",)), *(() if self.recipe.condition else ("prompted",))}
        without |= set() if self._clip_pair() else {"prompt_embeddings"}
        without |= set() if self.beside else {"apart"}
        if self.protocol.moments:  # moments have no images to be near to, or too few
            without |= {"training", "held_out", *(() if images_beside(located(self.protocol.moments)) else ("real",))}
        measured = metric_versions(without, self.protocol.extractor.name)
        return {**measured, TIMING: timing.VERSION, **self.drawn_versions()}

    def described(self) -> Record:
        recipe, protocol, sampling = self.recipe, self.protocol, self.sampling
        return {
            **{f"sampling.{name}": str(getattr(sampling, name) or "none") for name in Sampling.model_fields},
            "sampling.steps": sampling.steps,
            "sampling.nll_variance": self.nll or "none",
            **({"sampling.beside": self.beside.title} if self.beside else {}),
            "recipe.key": recipe.key,
            "recipe.dataset": str(recipe.dataset),
            "recipe.fingerprint": recipe.build_dataset().fingerprints["train"],
            "recipe.first_stage": recipe.first_stage.title if recipe.first_stage else "none",
            "recipe.network": str(recipe.network),
            "recipe.schedule": str(recipe.schedule),
            "recipe.parameterization": recipe.parameterization,
            "recipe.objective": str(recipe.objective),
            "recipe.condition": str(recipe.condition or "none"),
            **{f"recipe.{name}": str(value) for name, value in recipe.training.model_dump().items()},
            **protocol.columns(
                [field for field in Protocol.model_fields if field not in ("source", "note", "moments")],
                changed=protocol.changes or "nothing",
                n=protocol.n,
                reference=moments_of(protocol.moments).title
                if protocol.moments
                else f"{recipe.dataset} {protocol.reference}",
                labels=protocol.labels if recipe.condition else "none: unconditional",
            ),
        }

    def prerequisites(self, place: Workplace) -> Mapping[str, Callable[[], object]]:
        recipe, guidance, condition = self.recipe, self.sampling.guidance, self.recipe.build_condition()
        needed = dict(prerequisites(recipe.dataset, recipe.first_stage, self.protocol.extractor, place))
        if condition:
            needed[f"condition {recipe.condition}"] = lambda: condition.ensure(recipe.build_dataset())
        if guidance and guidance.classifier:
            needed[f"classifier {guidance.classifier}"] = guidance.built_classifier().ensure
        if self.protocol.moments and place.snapshots(recipe).found(recipe.training.steps):
            del needed[str(recipe.dataset)]  # nothing is trained, and nothing measured against it
        whole = {f"{recipe.dataset}, whole": lambda: place.ensure_photographs(recipe)} if recipe.training.crop else {}
        return needed | whole

    def trainings(self, place: Workplace) -> list[PlannedTraining]:
        return trainings_of_recipe(self.label, self.recipe, place)

    def ahead(self, place: Workplace) -> Ahead:
        recipe, protocol, sampling, dataset = self.recipe, self.protocol, self.sampling, self.recipe.build_dataset()
        batch, n = min(place.batch_size, protocol.n), protocol.n * len(protocol.seeds)
        network, features = of_network(recipe, batch), of_extractor(protocol.extractor, batch)
        drawing = network.work * self.nfe() + of_step(recipe, sampling, batch).work * sampling.steps
        computed = protocol.precision, place.device
        memory = network.weights(*computed) + network.memory
        if recipe.first_stage:
            decoder = of_stage("decode", recipe.first_stage, dataset, batch)
            drawing += decoder.work
            memory = max(memory, decoder.memory) + decoder.weights(*computed)
        bits = network.work * (recipe.build_schedule().T * self._bound_images / batch)
        real = protocol.reference_count(dataset.sizes[protocol.reference])
        return Ahead(
            str(recipe.network),
            protocol.precision,
            measuring=features.work * (n / batch) + bits,
            memory=max(memory, FLOAT * features.parameters + features.memory * (n + real) // batch),
            sets={self._folder(seed, place): protocol.n for seed in protocol.seeds},
            drawing=drawing * (1 / batch),
            image=math.prod(dataset.shape),
        )

    @property
    def _bound_images(self) -> int:
        return self.protocol.bound_images(self.recipe.build_dataset().sizes["test"]) if self.nll else 0

    def compute(self, place: Workplace) -> Computed:
        model = place.model(self.recipe, self.protocol.ema)
        reset_peak_memory(place.device)
        of_bound = self.recipe.build_schedule().T * self._bound_images
        place.deadline.require(self._seconds(model, place, of_bound) + MEASURING_SECONDS, self.title)
        # one process has to evaluate the bound: first, where others draw meanwhile; last, where a kill would lose it
        first = Together.companions > 0
        bits = self._bits(model, place) if first else None
        sets = [self.samples(model, seed, place) for seed in self.protocol.seeds]
        beside = {"timing.peak_memory_bytes": peak_memory(place.device)}
        drawn: Record = {
            "checkpoint.sha256": model.sha256["checkpoint"],
            "checkpoint.given": model.given["checkpoint"] or TRAINED,
            "checkpoint.first_stage_sha256": model.sha256.get(FIRST_STAGE, "none"),
            "checkpoint.first_stage_given": model.given.get(FIRST_STAGE) or TRAINED,
            SAMPLES: self.sample_key,
            **provenance(place.device),
            **timing_columns(sets, beside),
        }
        return self._measured(drawn, sets, bits if first else self._bits(model, place), {}, place)

    def measured_again(self, row: Record, place: Workplace) -> Computed | None:
        """Times are those of the chunks that the row's own device drew; what chunks do not tell is kept from the row. The
        model is loaded only where the bound has to be evaluated again.

        None where images have to be drawn: other versions of what draws them, missing chunks, or no snapshot for the bound.
        """
        if not changes(row, self.drawn_versions()).keys().isdisjoint(DRAWN):
            return None
        sets, trained = self.stored(row, place), place.snapshots(self.recipe).found(self.recipe.training.steps)
        if sets is None or (self.beside and not trained):
            return None
        bounds = {m.name: m.version for m in metrics() if self.nll and "bits" in m.needs}
        kept, bits = {c: v for c, v in row.items() if metric_of(c) in bounds}, None
        if changes(row, bounds) or lacking(row, bounds):
            if not trained:
                return None
            kept, bits = {}, self._bits(place.model(self.recipe, self.protocol.ema), place)
        drawn = {c: v for c, v in row.items() if c.startswith(OF_DRAWING)}
        drawn |= timing_columns(sets, {c: row[c] for c in BESIDE if c in row})
        return self._measured(drawn, sets, bits, kept, place)

    def _measured(
        self, drawn: Record, sets: list[SampleSet], bits: Tensor | None, kept: Record, place: Workplace
    ) -> Computed:
        """The second stage: the row of sets whose columns of the first one are `drawn`; `kept`: figures not measured anew."""
        figures, replicates = measured(self._measurable(sets, bits, place), place)
        extractor = {"protocol.extractor_sha256": self.protocol.extractor.build(EXTRACTORS).sha256}
        costs = {"sampling.nfe": sets[0].nfe, **cost_columns(self.recipe, sets[0].nfe)}
        record = {**self.columns, **extractor, **costs, **drawn, **figures, **kept}
        return Computed(record, strip_png(sets[0].first(STRIP_IMAGES)), replicates)

    def _bits(self, model: Model, place: Workplace) -> Tensor | None:
        """The bound of test images, None for a cell without."""
        if self.nll is None:
            return None
        images = self.recipe.build_dataset().load("test").images
        return bits_of(model.denoiser, self.nll, images, self.protocol, place)

    def _measurable(self, sets: list[SampleSet], bits: Tensor | None, place: Workplace) -> Material:
        """All that metrics may ask of the cell."""
        dataset = self.recipe.build_dataset()
        material = compared(sets, self.protocol.moments or dataset, self.protocol, place)
        material = replace(material, bits=bits, apart=self._apart(sets, place))
        # the classifier that ships for the dataset, whatever the distance's extractor is
        shipped = (found for _, found in EXTRACTORS.built() if found.classifies == dataset.name)
        if self.recipe.condition and (classifier := next(shipped, None)):
            streams = (classifier(s.batches(), device=place.device, total=s.n) for s in sets)
            logits = torch.cat([features.parts()["logits"] for features in streams])
            prompted = torch.cat([self.labels(seed, 0, self.protocol.n) for seed in self.protocol.seeds])
            material = replace(material, logits=logits, prompted=prompted)
        if clip := self._clip_pair():
            images = [clip.of_images(s.batches(), place.device) for s in sets]
            labels = (self.labels(seed, 0, self.protocol.n) for seed in self.protocol.seeds)
            numbers = torch.stack([caption_numbers(of, torch.arange(len(of)), dataset) for of in labels])
            used, places = numbers.unique(return_inverse=True)
            texts = clip.of_texts([captions(dataset)[number] for number in used.tolist()], place.device)
            material = replace(material, image_embeddings=images, prompt_embeddings=list(texts[places]))
        return material

    def _apart(self, sets: list[SampleSet], place: Workplace) -> list[Tensor] | None:
        """By seed, how far each image lies from the other cell's, which are drawn where they are not stored."""
        if (other := self.beside) is None:
            return None
        model = place.model(other.recipe, other.protocol.ema)
        theirs = [other.samples(model, seed, place) for seed in other.protocol.seeds]
        return [image_rms(a.batches(), b.batches()) for a, b in zip(sets, theirs, strict=True)]

    def _clip_pair(self) -> ClipPair | None:
        """What the CLIP score of a row on text is computed with, where it is on this machine."""
        return clip_pair() if isinstance(self.recipe.build_condition(), Captioned) else None

    def check(self) -> None:
        """Refuse whatever is wrong before anything is computed; raises InputError."""
        self.recipe.check()
        self.sampling.times(self.recipe.build_schedule())
        reads = "learned" in (self.nll, getattr(self.sampling.sampler.build(SAMPLERS), "variance", None))
        if reads and not self.recipe.build_objective().learns_variance:
            raise InputError(f"variance 'learned': objective {self.recipe.objective} trains no variance")
        one_of("quantizer", self.protocol.quantizer, QUANTIZERS)
        if self.nll is not None:
            one_of("variance", self.nll, VARIANCES)
            if self.recipe.first_stage is not None:
                raise InputError(f"nll = {self.nll!r}: the bound is that of pixels, and this model is one of latents")
        dataset = self.recipe.build_dataset()
        self.protocol.check_reference(dataset)
        self._check_condition()
        shape = (1, dataset.channels, dataset.resolution, dataset.resolution)
        self.protocol.extractor.build(EXTRACTORS).prepare(torch.empty(shape, dtype=torch.uint8))

    def _check_condition(self) -> None:
        if self.recipe.condition is None:
            if self.sampling.guidance is not None:
                raise InputError("guidance needs a conditional network: recipe.condition is not set")
            return
        if self.nll is not None:
            raise InputError(f"nll = {self.nll!r}: the bound is that of an unconditional network; leave it out")
        self.labels(self.protocol.seeds[0], 0, 1)
        null = self.recipe.null(1, "cpu")
        if self.sampling.guidance and self.sampling.guidance.classifier:
            self._check_classifier(self.sampling.guidance)
        elif self.sampling.guidance is not None and null is not None:
            with torch.device("meta"):
                if not takes_null(self.recipe.build_network()):
                    raise InputError(f"guidance needs the null condition, and network {self.recipe.network} has none")
            self.sampling.guidance.around(self.recipe.build_denoiser(nn.Identity()), null[0])

    def _check_classifier(self, guidance: Guidance) -> None:
        """Raises InputError unless it is one of the row's labels, images and times."""
        dataset, condition, classifier = self.recipe.build_dataset(), self.recipe.condition, guidance.built_classifier()
        what = f"guidance.classifier = {guidance.classifier}"
        if condition is None or condition.name != "label" or classifier.outputs != len(dataset.classes):
            classes = f"{len(dataset.classes)} classes of {dataset.name} with condition {condition}"
            raise InputError(f"{what}: it has {classifier.outputs} labels, and the row has {classes}")
        channels, resolution, _ = self.recipe.latent_shape
        if (channels, resolution) != (classifier.in_channels, classifier.resolution):
            takes = f"images of {classifier.in_channels} channels and {classifier.resolution} pixels a side"
            raise InputError(f"{what}: it takes {takes}, and the network's have {channels} and {resolution}")
        ClassifierGuided(self.recipe.build_denoiser(nn.Identity()), classifier, 1.0)


def cost_columns(recipe: Recipe, nfe: int) -> Record:
    """Columns `cost.*`, from the meta device; nfe: network evaluations per image, guidance's second ones included."""
    with torch.device("meta"):
        network = recipe.build_network().eval()
        x, timestep = torch.empty(1, *recipe.latent_shape), torch.empty(1)
    found, training = cost.measured(network, x, timestep, recipe.null(1, "meta")), recipe.training
    return {
        "cost.parameters": found.parameters,
        "cost.multiply_adds": found.multiply_adds,
        "cost.activation_bytes": found.activation_bytes,
        "cost.training_multiply_adds": found.training(training.steps, training.batch_size),
        "cost.image_multiply_adds": found.image(nfe),
    }


def find_cell(cells: Sequence[Cell], label: str, steps: int | None) -> Cell:
    """The cell of a row at a step count, the row's first by default; raises InputError for one that there is not."""
    named = of_row(cells, label)
    for cell in named:
        if steps in (None, cell.sampling.steps):
            return cell
    raise InputError(f"row {label!r} has {', '.join(str(c.sampling.steps) for c in named)} steps, not {steps}")


@JOBS.register("cell")
def cells_of(experiment: Experiment, profile_name: str, check: bool = True) -> list[Cell]:
    """The rows of a profile at each of their step counts: samples of a checkpoint, measured.

    Raises InputError naming the file, the row and what is wrong in it.
    """
    profile = experiment.profile(profile_name)
    measuring = {  # by what fixes the weights of a first stage: the job that measures it
        stage.first_stage.key(stage.build_dataset()): stage.key
        for stage in first_stage_cells(experiment, profile_name, check=False)
    }
    recipes: dict[int, Recipe] = {}  # by the object that was read: most rows share theirs, as they do the protocol
    protocols: dict[int, Protocol] = {}
    checked: set[tuple[object, ...]] = set()
    cells: list[Cell] = []
    for i, row in enumerate(profile.rows):
        where = f"{experiment.path}: profiles.{profile_name}.rows[{i}] ({row.label})"
        try:
            if id(row.recipe) not in recipes:
                recipes[id(row.recipe)] = row.recipe.completed()
            if id(row.protocol) not in protocols:
                protocols[id(row.protocol)] = row.protocol.with_fields()
            recipe, protocol = recipes[id(row.recipe)], protocols[id(row.protocol)]
            published = experiment.published(row)
            stage = recipe.first_stage.key(recipe.build_dataset()) if recipe.first_stage else ""
            rule = {name: getattr(row, name) for name in ("sampler", "spacing", "clip", "guidance")}
            above = {cell.title: cell for cell in cells} if row.beside else {}
            in_row = [
                Cell(
                    experiment=experiment.name,
                    profile=profile_name,
                    recipe=recipe,
                    sampling=Sampling(**rule, steps=steps),
                    published=[value for value in published if value.steps == steps],
                    needs=[
                        *([measuring[stage]] if stage in measuring and not protocol.moments else []),
                        *([other.key] if other else []),
                    ],
                    label=row.label,
                    protocol=protocol,
                    nll=row.nll,
                    beside=other,
                )
                for steps in row.steps
                for other in [_beside(f"{row.beside} x {steps}", protocol, above) if row.beside else None]
            ]
            depends = id(recipe), id(protocol), row.sampler, row.guidance, row.nll
            if check and depends not in checked:
                in_row[0].check()
                checked.add(depends)
            for cell in in_row if check else []:
                cell.sampling.times(recipe.build_schedule())
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if str(row.protocol.extractor) != str(profile.protocol.extractor):
            raise InputError(
                f"{where}: protocol.extractor = {row.protocol.extractor}: the table is one of {profile.protocol.extractor}, "
                "and two extractors' distances have nothing to do with each other"
            )
        cells += in_row
    return cells


def _beside(title: str, protocol: Protocol, above: Mapping[str, Cell]) -> Cell:
    """The cell of that title among those above it; raises InputError for none, and for images of other noise."""
    other = above[one_of("beside: cell above this row", title, above)]
    if (other.protocol.n, other.protocol.seeds) != (protocol.n, protocol.seeds):
        raise InputError(
            f"beside: {title} has other images: n and seeds are {other.protocol.n}, {other.protocol.seeds}"
        )
    return other
