"""Generation: image i depends on (seed, i) only. A sample set is written in chunks and goes on after a kill.

A chunk is one batch of images in one atomic file; a set may be finished with another batch size, or made longer later,
and holds the same images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import PositiveInt
from torch import Tensor

from replication.checkpoint import load_checkpoint, save_checkpoint
from replication.diffusion.denoiser import CLIPS, Counted, Denoise
from replication.diffusion.sampling import sample
from replication.metrics.timing import Stopwatch
from replication.noise import ImageNoise
from replication.numerics import Precision, numerics
from replication.progress import bar
from replication.registry import SAMPLERS, SPACINGS, unknown
from replication.settings import Part, Settings
from replication.types import InputError, RunError

QUANTIZERS: dict[str, Callable[[Tensor], Tensor]] = {
    "round": lambda x: ((x + 1) * 127.5 + 0.5).floor(),  # EDM, DiT, torchvision's save_image
    "truncate": lambda x: ((x + 1) * 127.5).floor(),  # IDDPM, LDM
}


def quantize(x: Tensor, quantizer: str) -> Tensor:
    """[-1, 1] -> uint8 by the named rule; half a grey level lies between the two. InputError for another name."""
    if quantizer not in QUANTIZERS:
        raise unknown("quantizer", quantizer, list(QUANTIZERS))
    return QUANTIZERS[quantizer](x).clamp(0, 255).to(torch.uint8)


class Sampling(Settings):
    """How x_T becomes x_0."""

    sampler: Part
    spacing: Part
    steps: PositiveInt
    clip: str

    def times(self, schedule: object) -> Tensor:
        """The times this setting visits on a schedule; raises InputError for parts or numbers that don't fit."""
        self.sampler.build(SAMPLERS)
        if self.clip not in CLIPS:
            raise unknown("clip", self.clip, list(CLIPS))
        return self.spacing.build(SPACINGS)(schedule, self.steps)


@dataclass(frozen=True)
class SampleSet:
    """images: uint8 [n,C,H,W]; nfe: network evaluations per image.

    seconds_per_image: of sampling alone, one value per chunk that this device drew; empty if another one drew them all.
    """

    images: Tensor
    nfe: int
    seconds_per_image: list[float]


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
) -> SampleSet:
    """Images 0..n-1 of the seed, [C,H,W] = shape, from the chunks in `folder` and, where they end, anew.

    Chunks drawn with other `weights` (their SHA-256) count as absent; `drawn_by` names the device for the timings.
    Each chunk is timed by itself after a warm-up. The last chunks are made equally large, so that their times compare.
    Raises RunError if sampling gives NaN or infinity.
    """
    chunks = _stored(folder, weights)
    done = chunks[-1][1] if chunks else 0
    missing = max(n - done, 0)
    rounds = -(-missing // batch_size)
    description = f"{sampling.sampler} x {sampling.steps}"
    with bar(n, description, "image", min(done, n), progress and missing > 0) as shown:
        for i in range(rounds):
            start, stop = done + missing * i // rounds, done + missing * (i + 1) // rounds
            noise = ImageNoise(seed, torch.arange(start, stop), device)
            if i == 0:
                _warm_up(denoiser, noise.prior((stop - start, *shape)), precision)
            counted = Counted(denoiser)
            with numerics(precision, device), Stopwatch(device) as watch:
                x = _draw(counted, sampling, noise, (stop - start, *shape))
            if not torch.isfinite(x).all():
                raise RunError(f"{description}: sampling gave NaN or infinity in images {start} to {stop - 1}")
            images = quantize(x, quantizer).cpu()
            path = folder / f"{start:07d}-{stop:07d}.safetensors"
            made = {"nfe": counted.nfe, "seconds": watch.seconds, "weights": weights, "drawn_by": drawn_by}
            save_checkpoint(path, {"images": images}, made)
            chunks.append((start, stop, path))
            shown.update(stop - start)
    return _read([c for c in chunks if c[0] < n], n, drawn_by)


def _draw(denoiser: Denoise, sampling: Sampling, noise: ImageNoise, shape: tuple[int, ...]) -> Tensor:
    schedule = denoiser.schedule
    times, sampler = sampling.times(schedule), sampling.sampler.build(SAMPLERS)
    x_T = noise.prior(shape) * float(schedule.prior_std(times[0]))
    return sample(denoiser, sampler, times, x_T, noise, clip=sampling.clip)


def _warm_up(denoiser: Denoise, x: Tensor, precision: Precision) -> None:
    with torch.no_grad(), numerics(precision, x.device):
        denoiser(x.double(), torch.ones((), dtype=torch.float64))


def _stored(folder: Path, weights: str) -> list[tuple[int, int, Path]]:
    """The chunks of these weights that follow each other without a gap from image 0: (start, stop, file)."""
    chunks: list[tuple[int, int, Path]] = []
    for path in sorted(folder.glob("[0-9]*-[0-9]*.safetensors")):
        start, stop = map(int, path.stem.split("-"))
        if start == (chunks[-1][1] if chunks else 0) and load_checkpoint(path)[1].get("weights") == weights:
            chunks.append((start, stop, path))
    return chunks


def _read(chunks: list[tuple[int, int, Path]], n: int, drawn_by: str) -> SampleSet:
    images, seconds, nfe = [], [], 0
    for start, stop, path in chunks:
        tensors, metadata = load_checkpoint(path)
        if len(tensors["images"]) != stop - start:
            raise InputError(f"{path}: holds {len(tensors['images'])} images, its name says {stop - start}; delete it")
        images.append(tensors["images"])
        if metadata["drawn_by"] == drawn_by:
            seconds.append(metadata["seconds"] / (stop - start))
        nfe = metadata["nfe"]
    return SampleSet(torch.cat(images)[:n], nfe, seconds)
