"""How far a distance moves between two measurements, with a 95 % interval for the move itself.

Images that correspond (the same reference images, the same seeds, the same files) are resampled in common: resample r
takes image i equally often on both sides. What both measurements owe to the draw of images then cancels in the
difference, so that a move is seen that is far smaller than the interval of either distance. Other seeds and other
splits are resampled each by themselves. The reference is resampled too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from replication.metrics.frechet import FrechetDistance, fit, influence
from replication.metrics.uncertainty import Interval, calibrated, recentred, resample_counts
from replication.noise import stream_seed
from replication.progress import bar

Word = Literal["moves it", "negligible", "no effect seen", "identical"]
NEGLIGIBLE = 0.005  # papers print two decimals


@dataclass(frozen=True, eq=False)
class Pool:
    """The features of one side of a measurement.

    values: [n,D]. Row j is image rows[j] of a population of `size` images; without `rows` it is image j.
    """

    values: Tensor
    population: str
    size: int
    rows: Tensor | None = None

    def same(self, other: "Pool") -> bool:
        """Whether both hold the same features, to the last bit."""
        return self is other or torch.equal(self.values, other.values)

    def corresponds(self, other: "Pool") -> bool:
        """Whether image i is the same one in both."""
        return (self.population, self.size) == (other.population, other.size)


Pair = tuple[Pool, Pool]  # generated, reference
Counts = dict[tuple[str, int], Tensor]  # population and size -> how often each image is in each resample, [R,size]


@dataclass(frozen=True)
class Move:
    """From one distance to another; `interval` is that of after - before."""

    before: float
    after: float
    interval: Interval
    paired: bool  # the generated and the reference images correspond
    word: Word

    @property
    def value(self) -> float:
        return self.after - self.before


def moves(base: Pair, others: Sequence[Pair], resamples: int, progress: bool = False) -> list[Move]:
    """The move from `base` to each of the others. What is identical to the base moves it by exactly 0."""
    same = [base[0].same(g) and base[1].same(r) for g, r in others]
    changed = [pair for pair, is_same in zip(others, same, strict=True) if not is_same]
    points = iter(distances([base, *changed]).tolist())
    before = next(points)
    deviations = iter(_deviations(base, changed, resamples, progress))
    found = []
    for pair, is_same in zip(others, same, strict=True):
        paired = base[0].corresponds(pair[0]) and base[1].corresponds(pair[1])
        if is_same:
            found.append(Move(before, before, Interval(0.0, 0.0, 0.0), paired, "identical"))
            continue
        after = next(points)
        interval = recentred(after - before, next(deviations))
        found.append(Move(before, after, interval, paired, word(interval)))
    return found


def word(interval: Interval) -> Word:
    """The verdict on a move: whether 0 is excluded, and if so, whether any paper would print it."""
    if interval.low <= 0 <= interval.high:
        return "no effect seen"
    return "moves it" if max(-interval.low, interval.high) >= NEGLIGIBLE else "negligible"


def distances(pairs: Sequence[Pair]) -> Tensor:
    """The distance of each pair as it is, float64 [len(pairs)] on the CPU."""
    return torch.stack([FrechetDistance(fit(r.values))(fit(g.values)).cpu() for g, r in pairs])


def _deviations(base: Pair, others: list[Pair], resamples: int, progress: bool) -> list[Tensor]:
    """The deviation of each move from its mean in each resample [R], without the surplus that resamples have."""
    if not others:
        return []
    pairs = [base, *others]
    counts = {_key(p): _counts(p, resamples) for pair in pairs for p in pair}
    whole = resampled(pairs, counts, resamples, progress)
    linear = torch.stack([_linear(pair, counts) for pair in pairs])
    return [calibrated(whole[j] - whole[0], linear[j] - linear[0]) for j in range(1, len(pairs))]


def resampled(pairs: Sequence[Pair], counts: Counts, resamples: int, progress: bool = False) -> Tensor:
    """The distance of each pair in each resample, float64 [len(pairs), resamples] on the CPU.

    Pools of one population get one draw of counts; a pool that lacks some of its images gets the counts of the rest.
    """
    found = torch.empty(len(pairs), resamples, dtype=torch.float64)
    with bar(resamples, "resampling", "resample", enabled=progress) as shown:
        for i in range(resamples):
            references: dict[int, FrechetDistance] = {}  # its factor is the expensive part
            for j, (generated, reference) in enumerate(pairs):
                if id(reference) not in references:
                    references[id(reference)] = FrechetDistance(fit(reference.values, _taken(reference, counts, i)))
                found[j, i] = references[id(reference)](fit(generated.values, _taken(generated, counts, i)))
            shown.update()
    return found


def _linear(pair: Pair, counts: Counts) -> Tensor:
    """The part of the distance that is linear in the counts, less the distance, float64 [R] on the CPU."""
    total = torch.zeros(())
    for pool, of_image in zip(pair, influence(pair[0].values, pair[1].values), strict=True):
        taken = counts[_key(pool)].double()
        taken = taken if pool.rows is None else taken[:, pool.rows]
        total = total + taken @ (of_image - of_image.mean()).cpu() / taken.sum(1)
    return total


def _counts(pool: Pool, resamples: int) -> Tensor:
    seed = stream_seed("forensics", pool.population, pool.size)
    return resample_counts(resamples, pool.size, torch.Generator().manual_seed(seed))


def _key(pool: Pool) -> tuple[str, int]:
    return pool.population, pool.size


def _taken(pool: Pool, counts: Counts, resample: int) -> Tensor:
    """How often each row of the pool is in this resample, on its device."""
    row = counts[_key(pool)][resample]
    return (row if pool.rows is None else row[pool.rows]).to(pool.values.device)
