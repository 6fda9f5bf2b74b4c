"""How long what is ahead takes, and how much disk and memory: jobs and trainings, before any of it runs.

What each has to do is counted (passes.py), and what this machine does in a second is measured now
(metrics/machine.py). Where rows or snapshots of this machine have times, whatever is of their network takes as much
longer or shorter than counted as they did. Not counted: reading data, metrics and resampling once the features are there,
compiling.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from replication.checkpoint import load_metadata
from replication.cost import FORWARDS_PER_STEP, Work
from replication.harness.journal import Record
from replication.harness.passes import (
    FLOAT,
    JUDGED,
    OPTIMIZING,
    TRAFFIC_PER_STEP,
    Pass,
    of_discriminator,
    of_network,
    of_stage,
)
from replication.harness.workplace import PlannedTraining, Workplace
from replication.metrics.machine import throughput
from replication.metrics.timing import conditions
from replication.numerics import Precision
from replication.sampling.chunks import chunks_in
from replication.settings import content_key
from replication.training.loop import MADE_BY
from replication.training.recipe import Recipe

COPIES = 4  # of the weights in a snapshot: they, their average, and Adam's two moments
HELD = 5  # while training: those, and the gradient
BESIDE_IMAGES = 30_000  # bytes that a row takes: itself, its strip, its replicates


@dataclass(frozen=True)
class Ahead:
    """Of one job: `sets`, the images that it needs by the folder that they are kept in, and what `drawing` one of them does,
    which is what its row times; nothing where it times none.

    `measuring` is what follows. `memory` and `image`: bytes at its most, and of an image on disk. Times of other jobs tell
    something of its own where `network` is the same.
    """

    network: str = ""
    precision: Precision = "float32"
    sets: Mapping[Path, int] = field(default_factory=dict)
    drawing: Work = field(default_factory=Work)
    measuring: Work = field(default_factory=Work)
    memory: int = 0
    image: int = 0


@dataclass(frozen=True)
class Expected:
    """Seconds, bytes that will be written to disk, and bytes of tensors in memory at its most."""

    seconds: float = 0.0
    disk: int = 0
    memory: int = 0

    @classmethod
    def of_all(cls, every: Iterable["Expected"]) -> "Expected":
        """One after the other."""
        found = list(every)
        most = max((one.memory for one in found), default=0)
        return cls(sum(one.seconds for one in found), sum(one.disk for one in found), most)


class Forecast:
    """Of what a plan lists, in its order: a sample set that two jobs share is drawn by the first, and latents likewise."""

    def __init__(self, place: Workplace):
        self.place = place
        self._here = conditions(place.device)
        self._seen: dict[Path, int] = {}  # images that are there or will be, by folder
        self._encoded: set[tuple[str, bool]] = set()  # latents that there will be, by encoder and mirroring
        self._paces: dict[str, list[float]] = defaultdict(list)  # seconds over those counted, by network

    def learn(self, ahead: Ahead, row: Record) -> None:
        """Take in the time of a row, if it is from this machine as it is now."""
        seconds, counted = row.get("timing.seconds_per_image"), self._counted(ahead.drawing, ahead.precision)
        there, processes = _of_all({name: row.get(f"env.{name}", "none") for name in self._here})
        if seconds and counted and there == self._here and not row.get("timing.disturbed"):
            self._paces[ahead.network].append(seconds / processes / counted)  # so many images were drawn in that time

    def of_job(self, ahead: Ahead) -> Expected:
        """What the job takes with nothing of it done but the images that there are."""
        missing = 0
        for folder, n in ahead.sets.items():
            if folder not in self._seen:
                self._seen[folder] = sum(map(len, chunks_in(folder)))  # there may be gaps
            missing += max(n - self._seen[folder], 0)
            self._seen[folder] = max(n, self._seen[folder])
        seconds = self._counted(ahead.drawing * missing, ahead.precision) * self._pace(ahead.network)
        measuring = self._counted(ahead.measuring, ahead.precision)
        return Expected(seconds + measuring, missing * ahead.image + BESIDE_IMAGES, ahead.memory)

    def of_training(self, planned: PlannedTraining) -> Expected:
        """What its steps that are yet to be done take, and latents if it is trained on them."""
        left = planned.to_do()
        if not left:
            return Expected()
        of, dataset, settings = planned.of, planned.of_dataset, planned.of.training
        batch = settings.part_size
        parts, last, step = settings.accumulate, planned.steps[-1], self._step(planned, batch)
        begun, once, judging, disk = last - left, Work(), Work(), 0
        if not isinstance(of, Recipe):
            judged = last - max(begun, of.loss.discriminator_start) if of.loss.discriminator else 0
            judging = of_discriminator(of, dataset, batch).work * (JUDGED * parts * max(judged, 0))
        elif of.first_stage and not settings.crop and not begun:
            latents = content_key(of.first_stage.encoder_identity(dataset)), settings.flip
            if latents not in self._encoded:
                n, (c, h, w) = dataset.sizes["train"] * (2 if settings.flip else 1), of.latent_shape
                once = of_stage("moments", of.first_stage, dataset, batch).work * (n / batch)
                disk += 2 * c * h * w * FLOAT * n
                self._encoded.add(latents)
        trained = self._counted(step.work * left + judging, settings.precision) * self._pace_of(planned, step)
        kept = sum(not planned.snapshots.found(steps) for steps in planned.steps)
        disk += (kept + 1) * COPIES * FLOAT * step.parameters  # and the one that grows
        seconds = trained + self._counted(once, "float32")  # as training/data.py encodes them
        return Expected(seconds, disk, step.memory + HELD * FLOAT * step.parameters)

    @staticmethod
    def _step(planned: PlannedTraining, batch: int) -> Pass:
        """One step of a training, without a discriminator's part in it."""
        of, dataset = planned.of, planned.of_dataset
        if isinstance(of, Recipe):
            forward = of_network(of, batch, trained=True)
        else:
            forward = of_stage("reconstruct", of, dataset, batch, trained=True)
        work, parts = forward.work, of.training.accumulate
        passes = Work(
            work.multiply_adds * FORWARDS_PER_STEP, work.bytes * TRAFFIC_PER_STEP, work.calls * TRAFFIC_PER_STEP
        )
        return forward._replace(work=passes * parts + Work(bytes=OPTIMIZING * FLOAT * forward.parameters))

    def _pace_of(self, planned: PlannedTraining, step: Pass) -> float:
        """That of its own snapshots, or of what is drawn with its network."""
        behind, of = planned.snapshots.before(planned.steps[-1] + 1), planned.of
        header = load_metadata(behind[1]) if behind else {}
        if behind and _of_all({"companions": "none", **header.get(MADE_BY, {})})[0] == self._here:
            return float(header["seconds"]) / behind[0] / self._counted(step.work, of.training.precision)
        return self._pace(str(of.network if isinstance(of, Recipe) else of.autoencoder))

    def _pace(self, network: str) -> float:
        """Seconds over those counted: of this network, of all where it has none, as counted where nothing was timed."""
        known = self._paces.get(network) or [pace for paces in self._paces.values() for pace in paces]
        return statistics.median(known) if known else 1.0

    def _counted(self, work: Work, precision: Precision) -> float:
        return throughput(self.place.device, precision).seconds(work)


def _of_all(there: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """Conditions under which companions computed, as those of one process with the threads of all; and how many they were."""
    if (companions := there["companions"]) == "none":
        return dict(there), 1
    processes = 1 + int(companions)
    return {**there, "threads": str(processes * int(there["threads"])), "companions": "none"}, processes
