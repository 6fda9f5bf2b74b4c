"""Generation: image i depends on (seed, i) only. A sample set is drawn chunk by chunk and goes on after a kill."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from replication.diffusion.denoiser import CLIPS, Counted, Denoise
from replication.diffusion.guidance import Guided
from replication.diffusion.sampling import sample
from replication.metrics.timing import Stopwatch
from replication.noise import ImageNoise
from replication.numerics import Precision, numerics
from replication.pixels import quantize
from replication.progress import bar
from replication.registry import SAMPLERS, SPACINGS, unknown
from replication.sampling.sample_set import Chunk, SampleSet, Seconds, stored_chunks
from replication.settings import Part, Settings
from replication.types import RunError


class Guidance(Settings):
    """Classifier-free guidance: see diffusion/guidance.py, whose words these are."""

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


def pixels(x: Tensor) -> Tensor:
    """What is sampled, where that is pixels already."""
    return x


@torch.no_grad()
def generate(
    denoiser: Denoise,
    sampling: Sampling,
    shape: tuple[int, int, int],
    n: int,
    seed: int,
    folder: Path,
    batch_size: int,
    device: torch.device,
    quantizer: str = "round",
    precision: Precision = "float32",
    progress: bool = True,
    weights: str = "",
    drawn_by: str = "",
    cond: Callable[[int, int], Tensor] | None = None,
    decode: Callable[[Tensor], Tensor] = pixels,
) -> SampleSet:
    """Images 0..n-1 of the seed from the chunks in `folder` and, where they end, anew; x_0 is [C,H,W] = shape.

    Chunks drawn with other `weights` (their SHA-256) count as absent; `drawn_by` names the device for the timings.
    `cond(start, stop)` is what a conditional network is told about those images; `decode` makes pixels of latents x_0.
    Each chunk is timed by itself after a warm-up. The last chunks are made equally large, so that their times compare.
    Raises RunError if sampling gives NaN or infinity.
    """
    chunks = stored_chunks(folder, weights)
    done = chunks[-1].stop if chunks else 0
    missing = max(n - done, 0)
    rounds = -(-missing // batch_size)
    description = f"{sampling.sampler} x {sampling.steps}"
    with bar(n, description, "image", min(done, n), progress and missing > 0) as shown:
        for i in range(rounds):
            start, stop = done + missing * i // rounds, done + missing * (i + 1) // rounds
            noise = ImageNoise(seed, torch.arange(start, stop), device)
            told = cond(start, stop).to(device) if cond else None
            if i == 0:
                _warm_up(denoiser, noise.prior((stop - start, *shape)), precision, told, decode)
            counted = Counted(denoiser)
            with numerics(precision, device):
                with Stopwatch(device) as watch:
                    x = draw(counted, sampling, noise, (stop - start, *shape), told)
                with Stopwatch(device) as decoding:
                    x = decode(x)
            if not torch.isfinite(x).all():
                raise RunError(f"{description}: sampling gave NaN or infinity in images {start} to {stop - 1}")
            images = quantize(x.float(), quantizer).cpu()
            chunks.append(Chunk(folder, start, stop))
            chunks[-1].write(images, counted.nfe, Seconds(watch.seconds, decoding.seconds), weights, drawn_by)
            shown.update(stop - start)
    return SampleSet([chunk for chunk in chunks if chunk.start < n], n, drawn_by)


def draw(
    denoiser: Denoise, sampling: Sampling, noise: ImageNoise, shape: tuple[int, ...], cond: Tensor | None
) -> Tensor:
    """x_0 of the noise's images, Float[B,C,H,W] = shape, neither decoded nor quantised."""
    schedule = denoiser.schedule
    times, sampler = sampling.times(schedule), sampling.sampler.build(SAMPLERS)
    x_T = noise.prior(shape) * float(schedule.prior_std(times[0]))
    return sample(denoiser, sampler, times, x_T, noise, clip=sampling.clip, cond=cond)


def _warm_up(
    denoiser: Denoise, x: Tensor, precision: Precision, cond: Tensor | None, decode: Callable[[Tensor], Tensor]
) -> None:
    with numerics(precision, x.device):
        denoiser(x.double(), torch.ones((), dtype=torch.float64), cond)
        decode(x)
