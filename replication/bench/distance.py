"""Our Fréchet distance beside torch-fidelity's, and what an interval costs."""

import statistics
from collections.abc import Callable

import torch
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from replication.bench.turns import in_turns, ratio
from replication.metrics.frechet import frechet_distance, resampled_fd
from replication.metrics.timing import repeated
from replication.metrics.uncertainty import draw
from replication.report.tables import markdown

IMAGES, WIDTH = 5000, 2048
DISTANCE_TURNS = 3
RESAMPLES = 200


def bench_distance(device: torch.device) -> str:
    """Seconds of our FD and of torch-fidelity's from the same features, covariances included, and of an interval.

    torch-fidelity computes on the CPU, wherever the device is. Every resample of the interval is computed.
    """
    generator = torch.Generator().manual_seed(0)
    spread = torch.arange(1, WIDTH + 1) ** -0.5  # standard deviations that fall off, as those of real features do
    generated, reference = (spread * torch.randn(IMAGES, WIDTH, generator=generator).relu() for _ in range(2))
    values, real = generated.to(device), reference.to(device)
    distances: dict[str, float] = {}
    runs: dict[str, Callable[[], object]] = {
        "ours": lambda: distances.update(ours=frechet_distance(values, real)),
        "torch-fidelity": lambda: distances.update(theirs=_fidelity_distance(generated, reference)),
    }
    seconds = in_turns(runs, device, DISTANCE_TURNS, warmups=0)
    draws = draw([IMAGES], IMAGES, RESAMPLES, seed=0)
    (interval,) = repeated(lambda: resampled_fd([values], real, [distances["ours"]], draws), device, 1, warmups=0)
    line = [
        f"n = {IMAGES}, D = {WIDTH}, {torch.get_num_threads()} threads",
        *(f"{statistics.median(times):.2f}" for times in seconds.values()),
        f"{ratio(seconds['torch-fidelity'], seconds['ours']):.2f}",
        f"{abs(distances['ours'] / distances['theirs'] - 1):.0e}",
        f"{interval:.0f}",
    ]
    columns = ["Fréchet distance", "ours, s", "torch-fidelity, s", "ratio", "relative difference"]
    return markdown([*columns, f"{RESAMPLES} resamples of ours, s"], [line])


def _fidelity_distance(generated: Tensor, reference: Tensor) -> float:
    fits = [fid_features_to_statistics(values) for values in (generated, reference)]
    return fid_statistics_to_metric(*fits, verbose=False)[KEY_METRIC_FID]
