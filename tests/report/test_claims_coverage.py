"""The judge's own intervals of ratios of paired rows, against known ratios: how often they hold them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from report.made_up import claim, ddim, evidence, only, row
from torch import Tensor

from replication.metrics.features import Features
from replication.metrics.frechet import FrechetDistance, Gaussian
from replication.metrics.metric import Material, metric_named
from replication.metrics.uncertainty import Replicates

TRIALS, RESAMPLES = 120, 80
WIDTH, N, M = 3, 300, 300  # 100 D images, from which on the plain FD may judge
SCALES = torch.linspace(1.0, 0.4, WIDTH)  # standard deviations of the reference, whose mean is 0
SAMPLERS = {2: (0.35, 1.15), 3: (0.3, 1.1)}  # by steps: mean, and standard deviations over the reference's
ALIKE = 0.95  # correlation of the two samplers' images of one x_T


def gaussian(mean: float, factor: float) -> Gaussian:
    return Gaussian(torch.full((WIDTH,), mean).double(), (factor * SCALES).double().square().diag())


def cubic(a: Gaussian, b: Gaussian) -> float:
    """E (x.y / D + 1)^3 of independent x and y, by their moments of first to third order."""
    first, second, third = ((p * q).sum() for p, q in zip(moments(a), moments(b), strict=True))
    return float(1 + 3 * first / WIDTH + 3 * second / WIDTH**2 + third / WIDTH**3)


def moments(law: Gaussian) -> tuple[Tensor, Tensor, Tensor]:
    """E x, E x x^T and E x_i x_j x_k."""
    m, s = law
    mixed = torch.einsum("i,jk->ijk", m, s)
    third = torch.einsum("i,j,k->ijk", m, m, m) + mixed + mixed.permute(1, 0, 2) + mixed.permute(1, 2, 0)
    return m, s + torch.outer(m, m), third


@pytest.mark.long
def test_paired_intervals_of_ratios_cover(folder: Path) -> None:
    """Features of two samplers from common noise, correlated by 0.95, and one reference, all drawn anew in each of 120
    trials: the judge's 95 % interval of the ratio of FD-infinity and of KID holds that of the closed forms in 92 to 98 %,
    and the interval of the ratio of FD that of the mean FDs of the trials.

    Catches: the rows drawn each by itself (99 % or more, and intervals over twice as wide), replicates of one row shifted
    against the other's, intervals around the mean of the replicates instead of the figures.
    """
    generator = torch.Generator().manual_seed(5)
    table = evidence(folder, {"metric.fd": dict.fromkeys(SAMPLERS, (1.0, 0.1))})
    alone, laws = gaussian(0, 1), {steps: gaussian(*law) for steps, law in SAMPLERS.items()}
    fd = {steps: FrechetDistance(alone)(law).item() for steps, law in laws.items()}
    kid = {s: cubic(law, law) + cubic(alone, alone) - 2 * cubic(law, alone) for s, law in laws.items()}
    intervals, points = {name: [] for name in ("fd", "fd_infinity", "kid")}, Counter()
    for _ in range(TRIALS):
        common, real = (torch.randn(size, WIDTH, generator=generator) for size in (N, M))
        reference, replicates = Features(SCALES * real), {}
        for steps, (mean, factor) in SAMPLERS.items():
            noise = ALIKE**0.5 * common + (1 - ALIKE) ** 0.5 * torch.randn(N, WIDTH, generator=generator)
            material = Material([Features(factor * SCALES * noise + mean)], reference, resamples=RESAMPLES)
            found = [metric_named(name).compute(material, material.samples, material.real) for name in intervals]
            record = row(table, steps)
            record |= {f"metric.{name}": value for part in found for name, value in part.columns.items()}
            record |= {"protocol.n": N, "protocol.reference_n": M, "protocol.features": WIDTH}
            values, raw = (
                {f"metric.{name}": value for part in found for name, value in getattr(part, kept).items()}
                for kept in ("replicates", "raw")
            )
            replicates[record["cell"]] = Replicates(material.draws.stream, values, raw)
            points[steps] += record["metric.fd"]
        for name, held in intervals.items():
            ratio = claim("ratio", of=[ddim(2)], over=ddim(3), columns=[f"metric.{name}"], at_least=1)
            verdict = only(ratio, replace(table, replicates=replicates, verdicts={}))
            assert verdict.pairing.startswith("r = 0.")
            held.append((verdict.low, verdict.high))
    truth = {"fd": points[2] / points[3], "fd_infinity": fd[2] / fd[3], "kid": kid[2] / kid[3]}
    covered = {name: sum(a <= truth[name] <= b for a, b in held) / TRIALS for name, held in intervals.items()}
    assert all(0.92 <= share <= 0.98 for share in covered.values()), covered
