"""Generation: image i depends on (seed, i) only. A sample set is drawn chunk by chunk and goes on after a kill.

A chunk is one batch of images in one atomic file; a set may be finished with another batch size, or made longer later,
and holds the same images. Reading goes chunk by chunk, so a set may be larger than the memory.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from replication.checkpoint import load_checkpoint, load_metadata, save_checkpoint
from replication.diffusion.denoiser import CLIPS, Counted, Denoise, Network, evaluations
from replication.diffusion.guidance import Guided
from replication.diffusion.sampling import sample
from replication.metrics.timing import OtherWork, Stopwatch, conditions, repeated
from replication.noise import ImageNoise
from replication.numerics import Precision, numerics
from replication.pixels import quantize
from replication.progress import bar
from replication.registry import SAMPLERS, SPACINGS, unknown
from replication.settings import Part, Settings
from replication.types import InputError, RunError

FLOOR_REPEATS = 20


class Guidance(Settings):
    """Classifier-free guidance; the options are those of diffusion/guidance.py."""

    weight: float
    channels: str | PositiveInt = "all"
    interval: Annotated[tuple[float, float], Field(strict=False)] = (0.0, 1.0)  # TOML has arrays alone

    def __str__(self) -> str:
        channels = "" if self.channels == "all" else f", channels {self.channels}"
        interval = "" if self.interval == (0.0, 1.0) else f", t in [{self.interval[0]:g}, {self.interval[1]:g}]"
        return f"{self.weight:g}{channels}{interval}"

    def around(self, denoise: Denoise, null: Tensor) -> Guided:
        """The guided denoiser; raises InputError for options that it does not take."""
        return Guided(denoise, self.weight, null, self.channels, self.interval)


class Sampling(Settings):
    """How x_T becomes x_0."""

    sampler: Part
    spacing: Part
    steps: PositiveInt
    clip: str
    guidance: Guidance | None = None

    def times(self, schedule: object) -> Tensor:
        """The times this setting visits on a schedule; raises InputError for parts or numbers that don't fit."""
        self.sampler.build(SAMPLERS)
        if self.clip not in CLIPS:
            raise unknown("clip", self.clip, list(CLIPS))
        return self.spacing.build(SPACINGS)(schedule, self.steps)


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

    def x0(self, sampling: Sampling, noise: ImageNoise, cond: Tensor | None) -> Tensor:
        """x_0 of the noise's images, Float[B,C,H,W], neither decoded nor quantised."""
        schedule = self.denoise.schedule
        times, sampler = sampling.times(schedule), sampling.sampler.build(SAMPLERS)
        x_T = noise.prior((len(noise.indices), *self.shape)) * float(schedule.prior_std(times[0]))
        return sample(self.denoise, sampler, times, x_T, noise, clip=sampling.clip, cond=cond)

    def warm_up(self, sampling: Sampling, noise: ImageNoise, cond: Tensor | None) -> None:
        """One evaluation of each cost, guided and not, and one decoding: what only the first ones take is in no time."""
        x = noise.prior((len(noise.indices), *self.shape))
        for t in {evaluations(self.denoise, t): t for t in sampling.times(self.denoise.schedule)[:-1]}.values():
            self.denoise(x.double(), t, cond)
        self.decode(x)

    def floor(self, noise: ImageNoise, cond: Tensor | None) -> float | None:
        """Seconds per image of a bare evaluation of the network, at the fastest that was seen; None without one."""
        if self.network is None:
            return None
        x, network = noise.prior((len(noise.indices), *self.shape)), self.network
        timestep = torch.zeros(len(x), device=x.device)
        return min(repeated(lambda: network(x, timestep, cond), x.device, FLOOR_REPEATS)) / len(x)


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


class Seconds(NamedTuple):
    """What images took: drawing x_0, and decoding it to pixels where it is a latent; and what that hangs on, the device aside.

    batch: the largest chunk that was drawn in the same call; threads: of the CPU, None for chunks from before they were
    kept; floor: seconds per image of a bare evaluation in that call, None where it was not measured. flags: of PyTorch, as
    metrics/timing.py has them; other_work: beside the drawing, None where it was not seen.
    """

    sampling: float
    decoding: float
    batch: int = 0
    threads: int | None = None
    floor: float | None = None
    flags: str | None = None
    other_work: OtherWork | None = None

    @property
    def disturbed(self) -> bool:
        """Whether other work is in them, as far as it was seen."""
        return self.other_work is not None and self.other_work.disturbs

    @property
    def image(self) -> float:
        """Until there are pixels."""
        return self.sampling + self.decoding


_NAME = re.compile(r"(\d{7,})-(\d{7,})\.safetensors")  # of a chunk's file


@dataclass(frozen=True)
class Chunk:
    """Images start..stop-1 of a set, in a file of `folder` that is named after them."""

    folder: Path
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def path(self) -> Path:
        return self.folder / f"{self.start:07d}-{self.stop:07d}.safetensors"

    def write(self, images: Tensor, nfe: int, seconds: Seconds, weights: str, drawn_by: str) -> None:
        """Images uint8 [stop-start,C,H,W], evaluations per image, seconds for all, and by whom; raises RunError."""
        taken = {name: value for name, value in seconds._asdict().items() if name not in ("sampling", "other_work")}
        beside = seconds.other_work._asdict() if seconds.other_work else None
        made = {"nfe": nfe, "seconds": seconds.sampling, **taken, "other_work": beside}
        save_checkpoint(self.path, {"images": images}, {**made, "weights": weights, "drawn_by": drawn_by})

    def images(self) -> Tensor:
        """uint8 [stop-start,C,H,W]; raises InputError for a damaged file, or one that holds another number."""
        images = load_checkpoint(self.path)[0]["images"]
        if len(images) != len(self):
            raise InputError(f"{self.path}: holds {len(images)} images, by its name {len(self)}; delete it")
        return images


def chunks_in(folder: Path) -> list[Chunk]:
    """Every chunk of the folder in order. Files of other names, such as a sync tool's copies, are passed over."""
    named = [_NAME.fullmatch(path.name) for path in sorted(folder.glob("*.safetensors"))]
    return [Chunk(folder, int(name[1]), int(name[2])) for name in named if name]


def stored_chunks(folder: Path, weights: str) -> list[Chunk]:
    """The chunks drawn with these weights that follow each other without a gap from image 0."""
    chunks: list[Chunk] = []
    for chunk in chunks_in(folder):
        follows = chunk.start == (chunks[-1].stop if chunks else 0)
        if follows and load_metadata(chunk.path).get("weights") == weights:
            chunks.append(chunk)
    return chunks


class SampleSet:
    """The first n images of a seed; `nfe` is the network evaluations per image.

    seconds_per_image: one value per chunk that this device drew, in whatever batches and threads; empty if another one drew
    them all.
    """

    def __init__(self, chunks: Sequence[Chunk], n: int, drawn_by: str):
        self._chunks, self.n = chunks, n
        made = [load_metadata(chunk.path) for chunk in chunks]
        self.nfe: int = made[-1]["nfe"]
        self.seconds_per_image = [
            Seconds(
                m["seconds"] / len(chunk),
                m.get("decoding", 0.0) / len(chunk),
                m.get("batch", len(chunk)),
                m.get("threads"),
                m.get("floor"),
                m.get("flags"),
                OtherWork(**m["other_work"]) if m.get("other_work") else None,
            )
            for chunk, m in zip(chunks, made, strict=True)
            if m["drawn_by"] == drawn_by
        ]

    def batches(self) -> Iterator[Tensor]:
        """The images in order, uint8 [B,C,H,W] at a time."""
        for chunk in self._chunks:
            yield chunk.images()[: self.n - chunk.start]

    @cached_property
    def images(self) -> Tensor:
        """All of them, uint8 [n,C,H,W]."""
        return torch.cat(list(self.batches()))

    def first(self, count: int) -> Tensor:
        """The first images, uint8 [count,C,H,W], however few a chunk holds."""
        chunks = [chunk.images() for chunk in self._chunks if chunk.start < count]
        return torch.cat(chunks)[: min(count, self.n)]


def stored_samples(place: SamplePlace, weights: str, n: int) -> SampleSet | None:
    """The first n images drawn with these weights, from the chunks in the place's folder; None where there are fewer."""
    chunks = stored_chunks(place.folder, weights)
    if not chunks or chunks[-1].stop < n:
        return None
    return SampleSet([chunk for chunk in chunks if chunk.start < n], n, place.drawn_by)


@torch.no_grad()
def generate(source: Source, request: SampleRequest, place: SamplePlace) -> SampleSet:
    """The images requested, from the chunks in the place's folder and, where they end, anew.

    Each chunk is timed by itself after a warm-up. The last chunks are made equally large, so that their times compare.
    Raises RunError if sampling gives NaN or infinity.
    """
    chunks, n = stored_chunks(place.folder, source.weights), request.n
    done = chunks[-1].stop if chunks else 0
    missing = max(n - done, 0)
    rounds = -(-missing // place.batch_size)
    description = f"{request.sampling.sampler} x {request.sampling.steps}"
    counter = Counted(source.denoise)
    counted = replace(source, denoise=counter)

    def drawn(start: int, stop: int) -> tuple[ImageNoise, Tensor | None]:
        """What images start..stop-1 are made of."""
        cond = request.cond(start, stop).to(place.device) if request.cond else None
        return ImageNoise(request.seed, torch.arange(start, stop), place.device), cond

    with bar(n, description, "image", min(done, n), place.progress and missing > 0) as shown:
        for i in range(rounds):
            start, stop = done + missing * i // rounds, done + missing * (i + 1) // rounds
            if i == 0:
                largest = drawn(done, done - (-missing // rounds))
                with numerics(request.precision, place.device):
                    source.warm_up(request.sampling, *largest)
                    floor = source.floor(*largest)
            inputs, counter.nfe = drawn(start, stop), 0
            with numerics(request.precision, place.device):
                with Stopwatch(place.device) as watch:
                    x = counted.x0(request.sampling, *inputs)
                with Stopwatch(place.device) as decoding:
                    x = source.decode(x)
            if not torch.isfinite(x).all():
                raise RunError(f"{description}: sampling gave NaN or infinity in images {start} to {stop - 1}")
            images = quantize(x.float(), request.quantizer).cpu()
            threads, flags = torch.get_num_threads(), conditions(place.device)["flags"]
            of_call = -(-missing // rounds), threads, floor, flags, watch.other_work
            seconds = Seconds(watch.seconds, decoding.seconds, *of_call)
            Chunk(place.folder, start, stop).write(images, counter.nfe, seconds, source.weights, place.drawn_by)
            shown.update(stop - start)
    samples = stored_samples(place, source.weights, n)
    assert samples is not None
    return samples
