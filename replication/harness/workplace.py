"""Where and on what device cells are computed: what has been trained is found there, and what has not is trained there.

The trainings behind the jobs of a profile are planned here too: each once, with the numbers of steps after which jobs use it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from replication.acceleration import accelerated
from replication.checkpoint import load_metadata
from replication.datasets.dataset import Dataset
from replication.deadline import NEVER, Deadline, OutOfTime
from replication.diffusion.denoiser import Denoiser
from replication.files import Damaged, Held, Unwritable, file_sha256, locked
from replication.ldm.autoencoder import Autoencoder
from replication.memory import out_of_memory
from replication.metrics.features import Features
from replication.numerics import numerics
from replication.registry import AUTOENCODERS
from replication.training.data import Encoded, Latents, TrainingData, cached_moments, encoder_sha256, images_of
from replication.training.first_stage import FirstStage
from replication.training.processes import ALONE, Processes
from replication.training.recipe import Recipe
from replication.training.snapshots import GIVEN, Snapshots, damage_set_aside
from replication.training.train import load_network, train
from replication.training.train_first_stage import load_autoencoder, stage_snapshots, train_first_stage
from replication.types import InputError, RunError

FIRST_STAGE = "first_stage"  # of Model.sha256 and Model.given
HELD = 2  # models that stay loaded, for the next cells
HELD_REFERENCES = 4  # likewise, features of a split: the two that a row needs, and those of another extractor


@dataclass(frozen=True)
class Model:
    """What came of a recipe: latents are sampled with the denoiser, and decoded by the autoencoder."""

    denoiser: Denoiser
    autoencoder: Autoencoder  # identity where the recipe has no first stage
    sha256: dict[str, str]  # of the files: `checkpoint`, and `first_stage` where there is one
    given: dict[str, str | None]  # likewise, of the published file that the weights are from; None: trained here

    @property
    def weights(self) -> str:
        """What stands for both files in a sample set."""
        return "+".join(self.sha256.values())

    @torch.no_grad()
    def encode(self, cond: Tensor) -> Tensor:
        """`cond` through the network's own encoder of labels or texts, once for all steps; as it is where there is none.

        In float32 whatever the sampling's precision is.
        """
        encode = getattr(self.denoiser.network, "encode", None)
        with numerics("float32", cond.device):
            return cond if encode is None else encode(cond)


@dataclass(frozen=True)
class Workplace:
    """`state` is the folder that holds it all; `milestones`: by a training's key, the steps that any row asks for.

    What would not end by the deadline is not begun: then, and where a training has to stop, OutOfTime is raised.
    `processes`: those that train here together, all of which call what may train.
    `waits`: for a training that another process does; else it raises Held. A training that failed is not tried again here.
    """

    state: Path
    device: torch.device
    batch_size: int
    progress: bool = True
    deadline: Deadline = NEVER
    milestones: Mapping[str, Collection[int]] = field(default_factory=dict)
    processes: Processes = ALONE
    waits: bool = True
    failed_trainings: dict[str, RunError] = field(default_factory=dict, repr=False, compare=False)
    _held: dict[tuple[Path, Path | None, bool], Model] = field(default_factory=dict, repr=False, compare=False)
    _references: dict[tuple[str, ...], Features] = field(default_factory=dict, repr=False, compare=False)
    _snapshots: dict[str, Snapshots] = field(default_factory=dict, repr=False, compare=False)

    def reference(self, key: tuple[str, ...], compute: Callable[[], Features]) -> Features:
        """Features of real images, computed if need be; the last HELD_REFERENCES stay loaded, and what is made of them."""
        if key not in self._references:
            while len(self._references) >= HELD_REFERENCES:
                del self._references[next(iter(self._references))]
            self._references[key] = compute()
        return self._references[key]

    def snapshots(self, recipe: Recipe) -> Snapshots:
        """Those of a recipe's training, which others share that differ in steps or in the decoder alone."""
        if recipe.training_key not in self._snapshots:
            self._snapshots[recipe.training_key] = Snapshots(self.state / "checkpoints", recipe.training_identity())
        return self._snapshots[recipe.training_key]

    def stage_snapshots(self, stage: FirstStage, dataset: Dataset) -> Snapshots:
        """Those of a first stage's training."""
        return stage_snapshots(stage, dataset, self.state / "first-stages")

    def trained(self, recipe: Recipe) -> Path:
        """The snapshot after a recipe's steps: found by its header, or trained now. One process at a time trains."""
        alone = replace(self, processes=ALONE)  # each loads by itself
        work = partial(train, recipe, data=partial(alone._training_data, recipe), processes=self.processes)
        return self._trained(self.snapshots(recipe), recipe.training.steps, work)

    def trained_first_stage(self, stage: FirstStage, dataset: Dataset) -> Path:
        """The snapshot of a first stage, likewise."""
        base = partial(lambda base: self.autoencoder(base, dataset)[0], stage.decoder_of) if stage.decoder_of else None
        work = partial(train_first_stage, stage, dataset, base=base, processes=self.processes)
        return self._trained(self.stage_snapshots(stage, dataset), stage.training.steps, work)

    def _trained(self, snapshots: Snapshots, steps: int, work: Callable[..., Path]) -> Path:
        if not self.processes.on_first(lambda: snapshots.found(steps)):
            if snapshots.key in self.failed_trainings:
                raise self.failed_trainings[snapshots.key]
            milestones = self.milestones.get(snapshots.key, ())
            lock = locked(self.state / "locks" / snapshots.key, f"training {snapshots.key[:12]}", self.waits)
            with lock if self.processes.first else nullcontext():
                self._held.clear()  # training needs the memory
                of = {"milestones": milestones, "progress": self.progress, "deadline": self.deadline}
                try:
                    work(folder=snapshots.folder, device=self.device, **of)
                except (Held, OutOfTime, Unwritable, Damaged):
                    raise
                except Exception as error:  # it would end so for every row that needs it
                    advice = "; recipe.training.accumulate sends a batch through in parts" * out_of_memory(error)
                    reason = f"training {snapshots.key[:12]}: {error}{advice}"
                    self.failed_trainings[snapshots.key] = RunError(reason)
                    if out_of_memory(error):
                        raise self.failed_trainings[snapshots.key] from error
                    raise
        return snapshots.after(steps)

    def ensure_photographs(self, recipe: Recipe) -> None:
        """Make sure that windows can be cut, or that the training which sees them is done; raises InputError."""
        if not self.snapshots(recipe).found(recipe.training.steps):
            dataset = recipe.build_dataset()
            dataset.kept_whole(recipe.training.shorter_side(dataset)).photographs("train")

    def ensure_first_stage(self, stage: FirstStage, dataset: Dataset) -> None:
        """Make sure that it is there, or that its training has what it needs; raises InputError."""
        if not self.stage_snapshots(stage, dataset).found(stage.training.steps):
            stage.build_perceptual().ensure()
            if shorter := stage.training.shorter_side(dataset):
                dataset.kept_whole(shorter).photographs("train")
            if stage.decoder_of is not None:
                self.ensure_first_stage(stage.decoder_of, dataset)

    def model(self, recipe: Recipe, ema: bool, checkpoint: Path | None = None) -> Model:
        """The model of a recipe, trained if need be, or the one in `checkpoint`; the last HELD stay loaded.

        Raises InputError where the checkpoint was trained on the latents of another encoder than that of the first stage, and
        where a given one's first stage is not there: another training of it would be another encoder.
        """
        path, stage = checkpoint or self.trained(recipe), recipe.first_stage
        if checkpoint and stage:
            snapshots, steps = self.stage_snapshots(stage, recipe.build_dataset()), stage.training.steps
            if not snapshots.found(steps):
                raise InputError(
                    f"{checkpoint}: its first stage {stage.name!r} is not here; copy the one that it was trained with to "
                    f"{snapshots.after(steps)}"
                )
        decoder = self.trained_first_stage(stage, recipe.build_dataset()) if stage else None
        key = (path, decoder, ema)
        held = self._held.pop(key, None)
        while len(self._held) >= HELD:
            del self._held[next(iter(self._held))]
        with nullcontext() if checkpoint else damage_set_aside(path):
            self._held[key] = held or self._load(recipe, ema, path)
        return self._held[key]

    def check_weights(self, recipe: Recipe, ema: bool, checkpoint: Path | None = None) -> None:
        """Raises InputError where they are here already, and are not of this kind."""
        snapshots, steps = self.snapshots(recipe), recipe.training.steps
        if checkpoint or snapshots.found(steps):
            snapshots.prefix(checkpoint or snapshots.after(steps), ema)

    def _load(self, recipe: Recipe, ema: bool, path: Path) -> Model:
        dataset, header, encoder = recipe.build_dataset(), load_metadata(path), None
        sha256, given = {"checkpoint": file_sha256(path)}, {"checkpoint": header.get(GIVEN)}
        autoencoder: Autoencoder = AUTOENCODERS.build("identity", image_channels=dataset.channels)
        if recipe.first_stage is not None:
            autoencoder, sha256[FIRST_STAGE], given[FIRST_STAGE] = self.autoencoder(recipe.first_stage, dataset)
            encoder = encoder_sha256(autoencoder)
        Snapshots.check_encoder(header, path, encoder)
        network = accelerated(load_network(recipe, path, self.device, ema), self.device)
        return Model(recipe.build_denoiser(network), autoencoder, sha256, given)

    def autoencoder(self, stage: FirstStage, dataset: Dataset) -> tuple[Autoencoder, str, str | None]:
        """The trained first stage, the SHA-256 of its snapshot, and that of the published file it is from, if any."""
        path = self.trained_first_stage(stage, dataset)
        with damage_set_aside(path):
            given = load_metadata(path).get(GIVEN)
            return load_autoencoder(stage, dataset, path, self.device), file_sha256(path), given

    def _training_data(self, recipe: Recipe) -> TrainingData:
        dataset = recipe.build_dataset()
        if recipe.first_stage is None:
            return images_of(dataset, recipe.training, self.device)
        autoencoder, *_ = self.autoencoder(recipe.first_stage, dataset)
        encoder = encoder_sha256(autoencoder)
        if recipe.training.crop:
            return Encoded(images_of(dataset, recipe.training, self.device), autoencoder, encoder)
        split = dataset.load("train")
        folder, mirrored = self.state / "latents", recipe.training.flip
        where = folder, self.device, mirrored, self.progress, self.deadline
        moments = cached_moments(split, autoencoder, encoder, *where)
        return Latents(moments, split.labels, self.device, autoencoder, encoder)


@dataclass(frozen=True)
class PlannedTraining:
    """`steps`: after which a snapshot is used, rising; the training goes on to the last of them. `of`: what is trained."""

    title: str
    snapshots: Snapshots
    steps: list[int]
    of: Recipe | FirstStage
    of_dataset: Dataset

    def done_in(self, place: Workplace) -> None:
        """Train it there to each of its steps; raises as `train` does."""
        for steps in self.steps:
            reached = self.of.with_fields(training=self.of.training.with_fields(steps=steps))
            if isinstance(reached, Recipe):
                place.trained(reached)
            else:
                place.trained_first_stage(reached, self.of_dataset)

    def to_do(self) -> int:
        """How many steps are still to be done."""
        missing = [steps for steps in self.steps if not self.snapshots.found(steps)]
        if not missing:
            return 0
        behind = self.snapshots.before(missing[-1])
        return missing[-1] - (behind[0] if behind else 0)


def trainings_of_stage(stage: FirstStage, dataset: Dataset, place: Workplace) -> list[PlannedTraining]:
    """A first stage's, behind that of the one that it is the decoder of."""
    bases = trainings_of_stage(stage.decoder_of, dataset, place) if stage.decoder_of else []
    title = f"first stage {stage.name}, {dataset.resolution} px"
    return [
        *bases,
        PlannedTraining(title, place.stage_snapshots(stage, dataset), [stage.training.steps], stage, dataset),
    ]


def trainings_of_recipe(title: str, recipe: Recipe, place: Workplace) -> list[PlannedTraining]:
    """A network's, behind that of its first stage."""
    dataset = recipe.build_dataset()
    stages = trainings_of_stage(recipe.first_stage, dataset, place) if recipe.first_stage else []
    return [*stages, PlannedTraining(title, place.snapshots(recipe), [recipe.training.steps], recipe, dataset)]


def planned_trainings(wanted: Iterable[PlannedTraining]) -> list[PlannedTraining]:
    """Each training once, in the order given, with the first title and the steps of all."""
    found: dict[str, PlannedTraining] = {}
    for one in wanted:
        steps = found[one.snapshots.key].steps if one.snapshots.key in found else []
        found.setdefault(one.snapshots.key, replace(one, steps=steps)).steps[:] = sorted({*steps, *one.steps})
    return list(found.values())


def keeping(place: Workplace, planned: Sequence[PlannedTraining]) -> Workplace:
    """The workplace where each of these trainings keeps a snapshot at all of its steps, whichever is asked for first."""
    return replace(place, milestones={one.snapshots.key: one.steps for one in planned})
