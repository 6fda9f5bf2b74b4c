"""`replicate bench`: networks, training, sampling over its bare passes, latents, and the Fréchet distance, beside their peers.

All runs of a line use the same weights, batch and times, or the same features, and take turns, so that a machine that
slows down slows them all; figures are medians over the turns.
"""

from collections.abc import Iterator, Sequence

import torch

from replication.bench.breakdown import bench_breakdown
from replication.bench.distance import bench_distance
from replication.bench.networks import bench_forward, bench_training
from replication.bench.sampling import bench_latents, bench_sampling
from replication.registry import unknown

COMPARISONS = {
    "forward": bench_forward,
    "training": bench_training,
    "sampling": bench_sampling,
    "latents": bench_latents,
    "distance": bench_distance,
    "breakdown": bench_breakdown,
}


def bench(device: torch.device, names: Sequence[str] = ()) -> Iterator[str]:
    """A Markdown table of each comparison, or of those named, when it is done. Raises InputError for an unknown name."""
    for name in names:
        if name not in COMPARISONS:
            raise unknown("section", name, list(COMPARISONS))
    for name in names or COMPARISONS:
        yield COMPARISONS[name](device)
