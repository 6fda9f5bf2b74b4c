"""How far a distance moves between two measurements, with a 95 % interval for the move itself.

Images that correspond (the same reference images, the same seeds, the same files) are resampled in common: resample r
takes image i equally often on both sides. What both measurements owe to the draw of images then cancels in the
difference, so that a move is seen that is far smaller than the interval of either distance. Other seeds and other
splits are resampled each by themselves. The reference is resampled too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from replication.harness.journal import Record
from replication.metrics.frechet import FrechetDistance, fit, frechet_distance, influence
from replication.metrics.uncertainty import Interval, calibrated, recentred, resample_counts
from replication.noise import stream_seed
from replication.progress import Bar

NEGLIGIBLE = 0.005  # papers print two decimals


@dataclass(frozen=True, eq=False)
class Pool:
    """The features of one side of a measurement.

    values: [n,D]. Row j is image rows[j] of a population of `size` images; without `rows` it is image j. Image i of one
    population is the same image, or made from the same noise, in every measurement.
    """

    values: Tensor
    population: str
    size: int
    rows: Tensor | None = None

    def taken(self, resamples: int, which: int | slice = slice(None)) -> Tensor:
        """How often each row is in each of the resamples, or in one, uint8 [R,n] or [n]: what corresponds is so equally."""
        counts = _counts(self.population, self.size, resamples)[which]
        return (counts if self.rows is None else counts[..., self.rows]).to(self.values.device)


Pair = tuple[Pool, Pool]  # generated, reference


def moves(base: Pair, others: Sequence[Pair], resamples: int, progress: bool = False) -> list[Record]:
    """The columns of the move from `base` to each of the others. What is identical to the base moves it by exactly 0.

    paired: whether the generated and the reference images correspond.
    """
    measured, positions = [base], []
    for pair in others:
        identical = all(p is q or torch.equal(p.values, q.values) for p, q in zip(base, pair, strict=True))
        measured += [] if identical else [pair]
        positions.append(0 if identical else len(measured) - 1)
    points = [frechet_distance(g.values, r.values) for g, r in measured]
    whole, linear = _resampled(measured, resamples, progress), [_linear(pair, resamples) for pair in measured]
    found = []
    for pair, at in zip(others, positions, strict=True):
        move = points[at] - points[0]
        interval = recentred(move, calibrated(whole[at] - whole[0], linear[at] - linear[0]))
        correspond = all((p.population, p.size) == (q.population, q.size) for p, q in zip(base, pair, strict=True))
        found.append(
            {
                "metric.fd_before": points[0],
                "metric.fd_after": points[at],
                "metric.move": move,
                "metric.move_low": interval.low,
                "metric.move_high": interval.high,
                "metric.move_se": interval.standard_error,
                "paired": "yes" if correspond else "no",
                "verdict": _verdict(interval) if at else "identical",
            }
        )
    return found


def _verdict(interval: Interval) -> str:
    """Whether 0 is excluded, and if so, whether any paper would print the move."""
    if interval.low <= 0 <= interval.high:
        return "no effect seen"
    return "moves it" if max(-interval.low, interval.high) >= NEGLIGIBLE else "negligible"


def _resampled(pairs: Sequence[Pair], resamples: int, progress: bool) -> Tensor:
    """The distance of each pair in each resample, float64 [len(pairs),R] on the CPU."""
    found = torch.empty(len(pairs), resamples, dtype=torch.float64)
    with Bar(resamples, "resampling", "resample", enabled=progress) as shown:
        for i in range(resamples):
            references: dict[int, FrechetDistance] = {}  # its factor is the expensive part
            for j, (generated, reference) in enumerate(pairs):
                if id(reference) not in references:
                    references[id(reference)] = FrechetDistance(fit(reference.values, reference.taken(resamples, i)))
                found[j, i] = references[id(reference)](fit(generated.values, generated.taken(resamples, i)))
            shown.update()
    return found


def _linear(pair: Pair, resamples: int) -> Tensor:
    """The part of the distance that is linear in the counts, less the distance, float64 [R] on the CPU."""
    total = torch.zeros(())
    for pool, of_image in zip(pair, influence(pair[0].values, pair[1].values), strict=True):
        taken = pool.taken(resamples).double()
        total = total + (taken @ (of_image - of_image.mean()) / taken.sum(1)).cpu()
    return total


@lru_cache(maxsize=8)  # each is [R,size]: three seeds and two splits, or images given
def _counts(population: str, size: int, resamples: int) -> Tensor:
    generator = torch.Generator().manual_seed(stream_seed("forensics", population, size))
    return resample_counts(resamples, size, generator)
