"""Bootstrap intervals: seeds are drawn anew, then their images, and the reference's images, all with replacement.

A resample is to the sample what the sample is to the model. That holds for its linear part (what each image adds to the
metric) up to noise, but not for the rest. Write L and q for the variances, over fresh sets, of the linear and of the
quadratic part of a metric; then over resamples

    the mean      is off by the metric's bias of order 1/n a second time: raw distances lie well above the point,
                  often with the point below their 2.5 % quantile. Only deviations from the mean are used (recentring).
    the variance  is L + 3 q instead of L + q: the slopes at the sample are themselves noisy, which adds 2 q to the
                  linear part. So that part is computed by itself, from each image's influence, and shrunk until the
                  variances add up. Near the reference, where slopes vanish, an interval is else 1.7 times too wide.

What comes out is the spread of the metric over fresh generated and fresh reference sets of the same sizes; `recentred`
lays it around an estimate, and that decides what is covered: around the plain FD of n images, the mean FD of sets of
that size; around an estimate without the bias (FD-infinity, KID), the value of the two distributions themselves.

With several seeds, the image noise inside each is counted twice (once by drawing seeds), but the reference's only once.

Rows of one stream saw the same resamples: what is computed from their points, each plus its replicate's deviation from the
mean, over all replicates, has the interval of that comparison. It takes replicates as they were before calibration
(`Replicates.joint`), which leaves it 1.07 to 1.3 times too wide.

How often these intervals hold what they should, measured with Gaussian features, is in docs/verdicts.md.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from replication.noise import stream_seed

VERSION = 2  # of the intervals: draws, calibration, recentring
Z95 = 1.959964  # standard errors on either side of a 95 % interval


class Interval(NamedTuple):
    """95 % interval and standard error of a point estimate."""

    low: float
    high: float
    standard_error: float


class Influence(NamedTuple):
    """What each image adds: n times the derivative of a metric by the image's weight, with mean 0, float64."""

    generated: Tensor  # [N]
    reference: Tensor  # [M]


@dataclass(frozen=True)
class Draws:
    """R resamples: which of the S seeds fills each slot, and how often each image is taken. Every metric sees the same."""

    seeds: Tensor  # int64 [R,S]
    generated: Tensor  # uint8 [R,S,N], padded with zeros where a seed has fewer images
    reference: Tensor  # uint8 [R,M]
    sizes: tuple[int, ...]  # images of each seed
    seed: int = 0  # of the draws
    paired: bool = False  # whether image i and reference i are taken equally often

    @property
    def stream(self) -> str:
        """What the draws are a function of; rows of one stream saw the same resamples."""
        joined = ", in pairs" if self.paired else ""
        resamples, reference = self.reference.shape
        of = resamples_of(resamples, self.sizes)
        return f"{of} against {reference} images{joined}, seed {self.seed}, version {VERSION}"

    def of_seed(self, index: int) -> tuple[Tensor, Tensor]:
        """The resamples that seed `index` is in, int64 [k], and how often each of its images is taken, float64 [k,n].

        A resample in which the seed fills several slots comes several times, with other images.
        """
        slots = self.seeds == index
        return slots.nonzero()[:, 0], self.generated[slots][:, : self.sizes[index]].double()

    def mean(self, parts: Iterable[Tensor]) -> Tensor:
        """Mean over the slots of a metric, given for each seed as `of_seed` orders its resamples -> float64 [R]."""
        drawn = torch.zeros(self.seeds.shape, dtype=torch.float64)
        for index, part in enumerate(parts):
            drawn[self.seeds == index] = part.cpu()
        return drawn.mean(1)

    def error_of_mean(self, estimates: Tensor) -> Tensor:
        """Error [R] of the mean of estimates [K], K > 1, each from a random part of the images or another seed.

        The estimates themselves are drawn with replacement, in each stream the same ones, so that the errors of two rows
        correlate as their estimates do. Of K draws the variance is 1 - 1/K of what it should be, which is made good.
        """
        count = len(estimates)
        generator = torch.Generator().manual_seed(stream_seed("estimates", self.seed, count))
        drawn = torch.randint(count, (len(self.seeds), count), generator=generator)
        return (count / (count - 1)) ** 0.5 * (estimates[drawn].mean(1) - estimates.mean())


@dataclass(frozen=True)
class Replicates:
    """A row's figures under resampling.

    stream: that of its draws. Replicate r of any figure of any row of one stream is of the same resample r: such figures
        are joint, and what they owe to common images cancels in a ratio or a difference.
    values: by column of the row ("metric.fd"), float64 [R]; around their own mean, which is not the row's figure.
    raw: of the columns whose values are `calibrated`, the replicates before that. Rows are compared by these: what
        calibration takes out of a row's own variance is the same noise in every row of the stream (r = 0.99 and more) and
        cancels, while rows shrunk by unequal shares have less in common than they had.
    """

    stream: str
    values: Mapping[str, Tensor]
    raw: Mapping[str, Tensor] = field(default_factory=dict)

    def joint(self, column: str) -> Tensor | None:
        """Those by which the column is compared between rows, float64 [R]; None where it has none."""
        return self.raw.get(column, self.values.get(column))


def resamples_of(resamples: int | str, sizes: Iterable[int]) -> str:
    """How the stream of draws from that many images of each seed begins: "200 resamples of 500+500"."""
    return f"{resamples} resamples of {'+'.join(map(str, sizes))}"


def resample_counts(resamples: int, n: int, generator: torch.Generator) -> Tensor:
    """How often each of n images is taken in each resample of size n: uint8 [R,n], rows sum to n."""
    if n == 0:  # of a reference whose moments alone are known
        return torch.zeros(resamples, 0, dtype=torch.uint8)
    drawn = torch.randint(n, (resamples, n), generator=generator)
    return torch.zeros(resamples, n, dtype=torch.uint8).scatter_add_(
        1, drawn, torch.ones(1, 1, dtype=torch.uint8).expand_as(drawn)
    )


def draw(sizes: Sequence[int], reference: int, resamples: int, seed: int) -> Draws:
    """Resamples of seeds with sizes[i] images each and of a reference of that many images: a function of the arguments."""
    generator = torch.Generator().manual_seed(seed)
    seeds = torch.randint(len(sizes), (resamples, len(sizes)), generator=generator)
    generated = torch.zeros(resamples, len(sizes), max(sizes), dtype=torch.uint8)
    for index, size in enumerate(sizes):
        slots = seeds == index
        generated[slots, :size] = resample_counts(int(slots.sum()), size, generator)
    return Draws(seeds, generated, resample_counts(resamples, reference, generator), tuple(sizes), seed)


def draw_paired(n: int, resamples: int, seed: int) -> Draws:
    """Resamples of n images together with their counterparts: image i and reference i are taken equally often."""
    counts = resample_counts(resamples, n, torch.Generator().manual_seed(seed))
    return Draws(torch.zeros(resamples, 1, dtype=torch.int64), counts[:, None], counts, (n,), seed, paired=True)


def linear_part(points: Sequence[float], influences: Sequence[Influence], draws: Draws) -> Tensor:
    """The metric of each resample to first order: one point and one influence per seed -> float64 [R]."""
    parts = []
    for index, (point, influence) in enumerate(zip(points, influences, strict=True)):
        rows, counts = draws.of_seed(index)
        generated = (influence.generated - influence.generated.mean()).cpu() / len(influence.generated)
        parts.append(point + counts @ generated)
        if len(influence.reference):
            reference = (influence.reference - influence.reference.mean()).cpu() / len(influence.reference)
            parts[-1] = parts[-1] + draws.reference[rows].double() @ reference
    return draws.mean(parts)


def calibrated(replicates: Tensor, linear: Tensor) -> Tensor:
    """Replicates [R] less their mean, their linear part [R] shrunk by the 2 q that it has too much."""
    rest = replicates - linear
    rest, linear = rest - rest.mean(), linear - linear.mean()
    shrunk = (linear.var() - 2 * rest.var()).clamp(min=0) / linear.var().clamp(min=torch.finfo(linear.dtype).tiny)
    return shrunk.sqrt() * linear + rest


def percentiles(draws: Tensor) -> tuple[float, float]:
    """Between which 95 % of the law of draws [R] lies.

    The k-th smallest of R draws has k / (R + 1) of the law below it, so that k = p (R + 1) is the p-quantile; with
    k - 1 = p (R - 1), the usual rule, 95 % intervals of 200 resamples would hold 94.1 %, and of 100, 93.1 %.
    """
    ranks = (torch.tensor([0.025, 0.975], dtype=draws.dtype) * (len(draws) + 1) - 1) / (len(draws) - 1)
    low, high = torch.quantile(draws, ranks.clamp(0, 1)).tolist()
    return low, high


def recentred(point: float, replicates: Tensor) -> Interval:
    """Interval from the deviations of replicates [R] from their mean, laid around the point estimate."""
    deviations = replicates - replicates.mean()
    low, high = percentiles(deviations)
    return Interval(point + low, point + high, float(deviations.std()))


def wilson(successes: float, n: float) -> tuple[float, float]:
    """95 % interval of successes / n (Wilson 1927), which stays inside [0, 1] near none and all.

    n may be an effective number of images, p (1 - p) / se^2, where their outcomes do not count as independent.
    """
    z, p = Z95, successes / n
    shrink = 1 + z * z / n
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (p + z * z / (2 * n) - half) / shrink, (p + z * z / (2 * n) + half) / shrink


class Joint(NamedTuple):
    """Two figures whose replicates are joint: the second less the first, and over it, each (value, low, high), 95 %.

    `ratio` is None where the first may not be divided by, `correlation` where one has no spread.
    """

    difference: tuple[float, float, float]
    ratio: tuple[float, float, float] | None
    correlation: float | None


def drawn_about(point: float, replicates: Tensor) -> Tensor:
    """Draws of a figure, float64 [R]: its point plus what each of its replicates [R] is off their mean.

    What is computed from such draws of several figures of one stream, draw by draw, has the interval of their `percentiles`.
    """
    return point + (replicates.double() - replicates.double().mean())


def divisible(value: float, draws: Tensor) -> bool:
    """Whether a figure may be divided by: it is above 0, and so are all but 2.5 % of its draws [R].

    Fieller's condition: the interval of a ratio is one that has two ends only where that of its denominator is all above 0.
    """
    return value > 0 and percentiles(draws)[0] > 0


def joint_intervals(points: tuple[float, float], replicates: tuple[Tensor, Tensor]) -> Joint:
    """Of two figures and their replicates [R], the r-th of both under one resample."""
    first, second = (drawn_about(point, of) for point, of in zip(points, replicates, strict=True))
    ratio = (points[1] / points[0], *percentiles(second / first)) if divisible(points[0], first) else None
    correlation = float(torch.corrcoef(torch.stack([first, second]))[0, 1])
    difference = (points[1] - points[0], *percentiles(second - first))
    return Joint(difference, ratio, None if math.isnan(correlation) else correlation)
