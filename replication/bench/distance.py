"""Feature extraction and the Fréchet distance beside torch-fidelity's, and what an interval of the distance costs."""

import math
import tempfile
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from replication.bench.networks import FLOAT
from replication.bench.turns import Run, Task, Work, apart
from replication.harness.passes import of_extractor
from replication.metrics.extractor import EmbeddedExtractor
from replication.metrics.extractors.convolutional import InceptionExtractor
from replication.metrics.frechet import frechet_distance, resampled_fd
from replication.metrics.timing import peak_memory, reset_peak_memory
from replication.metrics.uncertainty import draw
from replication.registry import EXTRACTORS
from replication.report.speed import OURS
from replication.settings import Part

FIDELITY = "torch-fidelity"
WIDTH = 2048  # Inception's
IMAGES = 5000
EXTRACTED = {"cuda": 2048, "cpu": 32}  # images at once
INTERVAL = 50_000  # images on either side
RESAMPLES = 200
SOLVED = 2 / 3  # multiply-adds of the eigenvalues of a symmetric matrix, over the cube of its side


def features(device: torch.device) -> list[Task]:
    """Inception's, of one set of random weights, beside torch-fidelity's own loop; and of the extractors in the package."""
    embedded = [found for found in EXTRACTORS.built() if isinstance(found[1], EmbeddedExtractor)]
    return [
        Task(f"inception-v3-compat, {EXTRACTED[device.type]} images of 32x32", partial(_inception, device)),
        *(_embedded(name, extractor, device) for name, extractor in embedded),
    ]


def distance(device: torch.device) -> list[Task]:
    """From the same features, covariances included. torch-fidelity computes on the CPU, wherever the device is."""
    return [Task(f"n = {IMAGES:,}, D = {WIDTH:,}", partial(_distance, device))]


def interval(device: torch.device) -> list[Task]:
    """Every resample computed, of as many images as papers take: once, since it takes minutes."""
    return [Task(f"{RESAMPLES} resamples, n = {INTERVAL:,}, D = {WIDTH:,}", partial(_interval, device))]


class _Images(Dataset[Tensor]):
    """What torch-fidelity reads images from."""

    def __init__(self, images: Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def _inception(device: torch.device) -> Work:
    from torch_fidelity.utils import get_featuresdict_from_dataset

    from replication.bench.random_inception import read_inception, write_inception

    n, cuda = EXTRACTED[device.type], device.type == "cuda"
    images = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        extractor = InceptionExtractor(str(write_inception(Path(folder) / "inception.pth")))
        extractor.network.to(device)
        theirs = read_inception(Path(folder) / "inception.pth").to(device)
    found: dict[str, Tensor] = {}

    def ours() -> None:
        found[OURS] = extractor(images, device=device).values

    def fidelity() -> None:
        answer = get_featuresdict_from_dataset(_Images(images), theirs, 64, cuda, save_cpu_ram=False, verbose=False)
        found[FIDELITY] = answer["2048"]

    runs: dict[str, Run] = {OURS: ours, FIDELITY: fidelity}
    notes = {"relative difference": lambda _: apart(found[OURS], found[FIDELITY])}
    weights = sum(p.numel() for p in extractor.network.parameters())
    touched = FLOAT * (weights + n * extractor.width) + images.numel()
    return Work(runs, extractor.multiply_adds * n, touched, n, notes=notes)


def _embedded(name: str, extractor: EmbeddedExtractor, device: torch.device) -> Task:
    n = 1024 if device.type == "cpu" else 50_000

    def work() -> Work:
        images = torch.randint(0, 256, (n, *extractor.shape), dtype=torch.uint8)
        touched = FLOAT * sum(p.numel() for p in extractor.network.parameters()) + images.numel()
        runs, of_image = {OURS: partial(extractor, images, device=device)}, of_extractor(Part(name=name), 1).work
        return Work(runs, of_image.multiply_adds * n, touched, n, missing={FIDELITY: "has no such network"})

    return Task(f"{name}, {n:,} images of {extractor.shape[1]}x{extractor.shape[2]}", work)


def _drawn(n: int) -> tuple[Tensor, Tensor]:
    """Features of two sets: standard deviations fall off, as those of real features do, and none is below 0."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.arange(1, WIDTH + 1) ** -0.5
    generated, reference = (torch.randn(n, WIDTH, generator=generator).relu_().mul_(spread) for _ in range(2))
    return generated, reference


def _of_distance(n: int) -> float:
    """Multiply-adds: two covariances, of which one half follows from the other, and eigenvalues of one matrix."""
    return n * WIDTH**2 + SOLVED * WIDTH**3


def _distance(device: torch.device) -> Work:
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    generated, reference = _drawn(IMAGES)
    values, real = generated.to(device), reference.to(device)
    found: dict[str, float] = {}

    def ours() -> None:
        # of a new copy: what is kept beside a reference would not be computed again
        found[OURS] = frechet_distance(values, real.clone())

    def fidelity() -> None:
        fits = [fid_features_to_statistics(part) for part in (generated, reference)]
        found[FIDELITY] = fid_statistics_to_metric(*fits, verbose=False)[KEY_METRIC_FID]

    notes = {"relative difference": lambda _: f"{abs(found[OURS] / found[FIDELITY] - 1):.0e}"}
    runs: dict[str, Run] = {OURS: ours, FIDELITY: fidelity}
    touched = 2 * FLOAT * IMAGES * WIDTH
    return Work(runs, _of_distance(IMAGES), touched, precision="float64", warmups=0, notes=notes)


def _interval(device: torch.device) -> Work:
    generated, reference = (part.to(device) for part in _drawn(INTERVAL))
    draws = draw([INTERVAL], INTERVAL, RESAMPLES, seed=0)
    reset_peak_memory(device)
    runs: dict[str, Run] = {OURS: lambda: resampled_fd([generated], reference, [0.0], draws)}
    notes = {"peak memory, GiB": lambda _: f"{peak_memory(device) / 2**30:.2f}"}
    touched = 2 * FLOAT * INTERVAL * WIDTH * RESAMPLES
    # of an image that is drawn several times there is one row: 1 - 1/e of them
    work = RESAMPLES * _of_distance(round(INTERVAL * (1 - math.exp(-1))))
    return Work(runs, work, touched, precision="float64", warmups=0, turns=1, notes=notes)
