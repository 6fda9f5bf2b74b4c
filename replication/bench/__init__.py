"""`replicate bench`: networks, training, sampling over its bare passes, latents, and the Fréchet distance, beside their peers.

All runs of a line use the same weights, batch and times, or the same features, and take turns, so that a machine that
slows down slows them all; figures are medians over the turns.
"""

import torch

from replication.bench.distance import bench_distance
from replication.bench.networks import bench_forward, bench_training
from replication.bench.sampling import bench_latents, bench_sampling

COMPARISONS = (bench_forward, bench_training, bench_sampling, bench_latents, bench_distance)


def bench(device: torch.device) -> str:
    """A Markdown table of each comparison."""
    return "\n\n".join(compare(device) for compare in COMPARISONS)
