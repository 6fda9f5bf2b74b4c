"""`replicate bench`: sampling over its bare passes, latents against pixels, DiT and the Fréchet distance beside their peers.

All runs of a line use the same weights, batch and times, or the same features, and take turns, so that a machine that
slows down slows them all; figures are medians over the turns.
"""

import torch

from replication.bench.distance import bench_distance
from replication.bench.dit import bench_dit
from replication.bench.sampling import bench_latents, bench_sampling


def bench(device: torch.device) -> str:
    """A Markdown table of each comparison."""
    return "\n\n".join(compare(device) for compare in (bench_sampling, bench_latents, bench_dit, bench_distance))
