"""What a spacing must do: N + 1 times or more that fall from noisy to clean, on every kind of path."""

from collections.abc import Iterator

import torch

from replication.check.finding import Finding, at_most, holds
from replication.check.samplers import PATHS
from replication.diffusion.spacing import Spacing

STEPS = (1, 2, 10, 100)


def findings(spacing: Spacing) -> Iterator[Finding]:
    """For 1, 2, 10 and 100 steps; published rules that repeat a time, or have one more, pass."""
    for path, schedule in PATHS.items():
        every = [spacing(schedule, n) for n in STEPS]
        enough = all(t.dtype == torch.float64 and t.ndim == 1 and len(t) > n for n, t in zip(STEPS, every, strict=True))
        shapes = ", ".join(f"{t.dtype}{list(t.shape)}".removeprefix("torch.") for t in every)
        yield holds(f"{path}: {STEPS} steps", shapes, enough, "float64[N+1] or longer")
        ends = ", ".join(f"{float(t[0]):.4g} to {float(t[-1]):.4g}" for t in every)
        yield holds(f"{path}: ends", ends, all(0 <= t[-1] < t[0] <= 1 for t in every), "within [0, 1], falling")
        yield at_most(f"{path}: largest rise", max(float(t.diff().max()) for t in every), 0.0)
