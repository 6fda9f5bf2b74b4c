"""Generation: image i depends on (seed, i) only. A sample set is drawn chunk by chunk and goes on after a kill.

A set may be drawn by several processes at once, finished with another batch size, or made longer later, and holds the same
images. Reading goes chunk by chunk, so a set may be larger than the memory.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from weakref import WeakKeyDictionary

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from replication.diffusion.denoiser import CLIPS, Counted, Denoise, Network, evaluations
from replication.diffusion.guidance import ClassifierGuided, Guided
from replication.diffusion.sampler import Sampler
from replication.diffusion.sampling import sample
from replication.diffusion.schedule import NoiseSchedule
from replication.metrics.timing import Stopwatch, Together, conditions, repeated
from replication.noise import ImageNoise
from replication.numerics import Precision, numerics
from replication.pixels import quantize
from replication.progress import Bar
from replication.registry import CLASSIFIERS, SAMPLERS, SPACINGS, one_of
from replication.sampling.chunks import Chunks, SampleSet, Seconds
from replication.settings import Part, Settings, Shared
from replication.types import RunError

FLOOR_REPEATS, FEWEST_REPEATS = 20, 3
FLOOR_SHARE = 0.01  # of the evaluations to come
POLL = 0.5  # seconds between two looks at what other processes draw


class Guidance(Shared):
    """Classifier-free guidance, or by a classifier; the options are those of diffusion/guidance.py."""

    weight: float
    channels: str | PositiveInt = "all"
    interval: Annotated[tuple[float, float], Field(strict=False)] = (0.0, 1.0)  # TOML has arrays alone
    classifier: Part | None = None  # of images with noise; its gradient is taken at every time and channel

    @model_validator(mode="after")
    def _of_one_kind(self) -> "Guidance":
        if self.classifier and (self.channels, self.interval) != ("all", (0.0, 1.0)):
            raise ValueError("channels and interval are options of guidance without a classifier")
        return self

    def identity(self) -> dict[str, Any]:
        """What enters keys: a classifier by its weights' content."""
        if self.classifier:
            return {"weight": self.weight, "classifier": self.classifier.identity(CLASSIFIERS)}
        return self.model_dump(exclude={"classifier"})

    def built_classifier(self) -> Any:
        """A classifier that may not have its weights yet, one for all rows that share the setting; None without one."""
        return self.classifier.built(CLASSIFIERS) if self.classifier else None

    def __str__(self) -> str:
        if self.classifier:
            return f"{self.weight:g} by {self.classifier.name}"
        channels = "" if self.channels == "all" else f", channels {self.channels}"
        interval = "" if self.interval == (0.0, 1.0) else f", t in [{self.interval[0]:g}, {self.interval[1]:g}]"
        return f"{self.weight:g}{channels}{interval}"

    def around(self, denoise: Denoise, null: Tensor) -> Denoise:
        """The guided denoiser, on the null's device; raises InputError for options that it does not take."""
        if classifier := self.built_classifier():
            return ClassifierGuided(denoise, classifier.with_weights.to(null.device), self.weight)
        return Guided(denoise, self.weight, null, self.channels, self.interval)


class Sampling(Settings):
    """How x_T becomes x_0."""

    sampler: Part
    spacing: Part
    steps: PositiveInt
    clip: str
    guidance: Guidance | None = None

    def times(self, schedule: NoiseSchedule) -> Tensor:
        """The times this setting visits on a schedule; raises InputError for parts or numbers that don't fit."""
        return self._visited(schedule)[0].clone()

    def nfe(self, schedule: NoiseSchedule) -> int:
        """Network evaluations for an image on a schedule; guidance without a classifier takes two. Raises as `times`."""
        return self._visited(schedule)[1] * (2 if self.guidance and not self.guidance.classifier else 1)

    def _visited(self, schedule: NoiseSchedule) -> tuple[Tensor, int]:
        """The times and the sampler's evaluations, each found once for a schedule: a sweep's cells share few of them."""
        one_of("clip", self.clip, CLIPS)
        visited, evaluations = _visited.setdefault(schedule, ({}, {}))
        sampler, when = self.sampler.built(SAMPLERS), (self.spacing, self.steps)
        if when not in visited:
            visited[when] = self.spacing.build(SPACINGS)(schedule, self.steps)
        # most samplers evaluate every step alike
        rule = sampler.evals_per_step if type(sampler).nfe is Sampler.nfe else self.sampler
        if (rule, when) not in evaluations:
            evaluations[rule, when] = sampler.nfe(schedule, visited[when])
        return visited[when], evaluations[rule, when]


_visited: WeakKeyDictionary[
    NoiseSchedule, tuple[dict[tuple[Part, int], Tensor], dict[tuple[object, tuple[Part, int]], int]]
] = WeakKeyDictionary()


@dataclass(frozen=True)
class Source:
    """What images are drawn from: a denoiser whose x_0 is [C,H,W] = shape, and the decoder that makes pixels of it.

    `weights` (SHA-256) identifies both: chunks that were drawn from others are drawn anew. `network` is what the denoiser
    evaluates, for a floor beside the times.
    """

    denoise: Denoise
    shape: tuple[int, int, int]
    decode: Callable[[Tensor], Tensor] = lambda x: x  # the decoder of a model whose x_0 is pixels already
    weights: str = ""
    network: Network | None = None

    def x0(
        self, sampling: Sampling, noise: ImageNoise, cond: Tensor | None, step: Callable[[], object] | None = None
    ) -> Tensor:
        """x_0 of the noise's images, Float[B,C,H,W], neither decoded nor quantised; `step` is called after each step."""
        schedule = self.denoise.schedule
        times, sampler = sampling.times(schedule), sampling.sampler.build(SAMPLERS)
        x_T = noise.prior((len(noise.indices), *self.shape)) * float(schedule.prior_std(times[0]))
        return sample(self.denoise, sampler, times, x_T, noise, clip=sampling.clip, progress=step or False, cond=cond)

    def warm_up(self, sampling: Sampling, noise: ImageNoise, cond: Tensor | None) -> None:
        """One evaluation of each cost, guided and not, and one decoding: what only the first ones take is in no time."""
        x = noise.prior((len(noise.indices), *self.shape))
        for t in {evaluations(self.denoise, t): t for t in sampling.times(self.denoise.schedule)[:-1]}.values():
            self.denoise(x.double(), t, cond)
        self.decode(x)

    def floor(self, noise: ImageNoise, cond: Tensor | None, ahead: int) -> float | None:
        """Seconds per image of a bare evaluation of the network, at the fastest that was seen; None without one.

        ahead: how many evaluations of such batches are to come. Looking for the fastest takes a small share of them.
        """
        if self.network is None:
            return None
        x, network = noise.prior((len(noise.indices), *self.shape)), self.network
        timestep = torch.zeros(len(x), device=x.device)
        repeats = min(max(FEWEST_REPEATS, int(FLOOR_SHARE * ahead)), FLOOR_REPEATS)
        return min(repeated(lambda: network(x, timestep, cond), x.device, repeats)) / len(x)


@dataclass(frozen=True)
class SampleRequest:
    """Images 0..n-1 of a seed. `cond(start, stop)` is the condition of images start..stop-1, Tensor[stop-start,...]."""

    sampling: Sampling
    n: int
    seed: int
    cond: Callable[[int, int], Tensor] | None = None
    quantizer: str = "round"
    precision: Precision = "float32"


@dataclass(frozen=True)
class SamplePlace:
    """Where images are drawn and kept, which changes none of them. `drawn_by` names the device beside its timings."""

    folder: Path
    batch_size: int
    device: torch.device
    drawn_by: str = ""
    progress: bool = True


def stored_samples(place: SamplePlace, weights: str, n: int) -> SampleSet | None:
    """The first n images drawn with these weights, from the chunks in the place's folder; None where one is missing."""
    chunks = Chunks(place.folder, weights)
    if chunks.missing(n):
        return None
    return SampleSet([chunk for chunk in chunks.stored() if chunk.start < n], n, place.drawn_by)


def generate(source: Source, request: SampleRequest, place: SamplePlace) -> SampleSet:
    """The images requested, from the chunks in the place's folder; those that are missing are drawn.

    What another process draws is waited for. Raises RunError if sampling gives NaN or infinity.
    """
    waiting = False
    while (samples := stored_samples(place, source.weights, request.n)) is None:
        if not draw(source, request, place):
            if not waiting and not Together.companions:
                print("other processes draw the last of these images; waiting for them", flush=True)
            waiting, place = True, replace(place, progress=False)
            time.sleep(POLL)
    return samples


@torch.no_grad()
def draw(source: Source, request: SampleRequest, place: SamplePlace) -> int:
    """Draw the requested images that are missing, but for those that other processes draw just now; returns how many.

    Each chunk is timed by itself after a warm-up. Raises RunError if sampling gives NaN or infinity.
    """
    chunks, n, drawn = Chunks(place.folder, source.weights), request.n, 0
    missing = chunks.missing(n)
    description = f"{request.sampling.sampler} x {request.sampling.steps}"
    counter = Counted(source.denoise)
    counted = replace(source, denoise=counter)

    def made_of(start: int, stop: int) -> tuple[ImageNoise, Tensor | None]:
        """What images start..stop-1 are made of."""
        cond = request.cond(start, stop).to(place.device) if request.cond else None
        return ImageNoise(request.seed, torch.arange(start, stop), place.device), cond

    # a batch of a thousand steps takes minutes; some spacings visit a time more than they were asked for
    steps = len(request.sampling.times(source.denoise.schedule)) - 1
    with Bar(n * steps, description, "image step", (n - missing) * steps, place.progress and missing > 0) as shown:
        while True:
            with chunks.claimed(n, place.batch_size) as claim:
                if claim is None:
                    return drawn
                chunk, largest = claim
                if not drawn:
                    first = made_of(chunk.start, chunk.start + largest)
                    with numerics(request.precision, place.device):
                        source.warm_up(request.sampling, *first)
                        floor = source.floor(*first, missing * steps // largest)
                inputs, counter.nfe = made_of(chunk.start, chunk.stop), 0
                with numerics(request.precision, place.device):
                    with Stopwatch(place.device) as watch:
                        x = counted.x0(request.sampling, *inputs, partial(shown.update, len(chunk)))
                    with Stopwatch(place.device) as decoding:
                        x = source.decode(x)
                if not torch.isfinite(x).all():
                    raise RunError(
                        f"{description}: sampling gave NaN or infinity in images {chunk.start} to {chunk.stop - 1}"
                    )
                images = quantize(x.float(), request.quantizer).cpu()
                under = conditions(place.device)
                of_call = largest, torch.get_num_threads(), floor, under["flags"], watch.other_work, under["companions"]
                seconds = Seconds(watch.seconds, decoding.seconds, *of_call)
                chunk.write(images, counter.nfe, seconds, source.weights, place.drawn_by)
            drawn += len(chunk)
            if (by_all := (n - chunks.missing(n)) * steps) > shown.done:
                shown.update(by_all - shown.done)
