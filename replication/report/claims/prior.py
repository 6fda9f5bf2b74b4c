"""x_T is N(0, I): the exact divergence per dimension, and a two-sample test that could refute it.

    KL(q(x_T|x_0) || N(0, I)) = 1/2 sum (sigma^2 + alpha^2 x_0^2 - 1 - log sigma^2), mean over the images,
                                divided by the number of values of an image, and by log 2: bits per dimension

A sum over the values of an image would say more against large images than against small ones on the same schedule. The
unit is that in which Ho et al. 2020 (section 4) state L_T, 1e-5 for their schedule on CIFAR-10.

The test looks where what is left of x_0 adds up over images: at the projection of x_T on the mean image. n draws of it are
compared with n of N(0, 1), by a two-sample z-test of the means, the most powerful one for a shift. "At most b bits" excludes
a shift of d, which alone is b bits in each of D dimensions:

    d^2 / 2 = b log(2) D        d (n / 2)^(1/2) is its size in standard errors of the difference of two means

The test's power is that to find such a shift, whatever is really left. So it may come out for N(0, I) itself, as it
could not if power were asked at the shift that there is. p of "refuted" is the test's own, that of no shift; p of
"supported" is that of a shift of d, which would hardly give so small a z.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from scipy.special import ndtr, ndtri

from replication.pixels import to_signed
from replication.registry import CLAIMS, DATASETS, SCHEDULES
from replication.report.claims.claim import Claim
from replication.report.claims.evidence import Evidence
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import LEVEL, Range
from replication.settings import Part

NOT_READ = (math.nan, math.nan)  # bits and z of images that are not looked at


@cache  # the same in every profile
def _tested(dataset: str, alpha: float, sigma: float, n: int) -> tuple[float, float]:
    """(bits per dimension, z of the test) of the training images of a dataset."""
    images = Part.model_validate_json(dataset).build(DATASETS).load("train").images.flatten(1)  # [N,D]
    signed = to_signed(images, torch.float64)
    return divergence(signed, alpha, sigma) / images.shape[1] / math.log(2), shift_z(signed, alpha, sigma, n)


@CLAIMS.register("prior")
class Prior(Claim):
    """q(x_T) on each schedule is N(0, I): at most `bits` per dimension away from it, and a test does not tell it apart.

    `images` is how many draws of x_T the test sees; `end` the time that counts as T, 1 unless a spacing stops earlier. A
    dataset that is not on this machine is not downloaded for a claim.
    """

    dataset: Part
    schedules: Annotated[list[Part], Field(min_length=1)]
    bits: PositiveFloat
    images: PositiveInt
    end: Annotated[float, Field(gt=0, le=1)] = 1.0

    def check(self) -> None:
        """Build the dataset and every schedule; raises InputError."""
        self.dataset.build(DATASETS)
        for part in self.schedules:
            part.build(SCHEDULES)

    def readings(self, evidence: Evidence) -> Iterator[Reading]:
        """Two for each schedule, on the claim's own dataset: the divergence, exact, and the test's p-value."""
        dataset = self.dataset.build(DATASETS)
        absent = "" if dataset.present() else f"dataset {self.dataset} is not on this machine"
        reason = evidence.shortfall(self) or absent
        for part in self.schedules:
            schedule, t = part.build(SCHEDULES), torch.tensor(self.end).double()
            ends = float(schedule.alpha(t)), float(schedule.sigma(t))
            bits, z = NOT_READ if reason else _tested(self.dataset.model_dump_json(), *ends, self.images)
            name = f"{part} at t = {self.end:g}" if self.end < 1 else str(part)
            of_bits = Reading.exact(f"{name}: divergence", "KL, bits/dimension", Range(high=self.bits), bits)
            of_test = self._test(name, z, math.prod(dataset.shape))
            yield from (replace(reading, reason=reason) for reading in (of_bits, of_test))

    def _test(self, name: str, z: float, dimensions: int) -> Reading:
        """That of the test's p-value; its power is at the level that Holm's procedure has for the smallest of all p."""
        excluded = math.sqrt(self.bits * math.log(2) * dimensions * self.images)  # in standard errors
        p, power = p_of_no_shift(z), power_at(excluded, LEVEL / len(self.schedules))
        formula = f"p of the two-sample test, n = {self.images:,}, power {power:.2f} at {self.bits:g} bits/dimension"
        of_word = p if p < LEVEL else p_of_shift(z, excluded)
        return Reading.exact(f"{name}: test", formula, Range(low=LEVEL), p, power=power, p=of_word)


def divergence(images: torch.Tensor, alpha: float, sigma: float) -> float:
    """Mean over images [N,D] of KL(N(alpha x_0, sigma^2 I) || N(0, I)), nats."""
    squares = float(torch.linalg.vector_norm(images)) ** 2 / len(images)
    # sigma^2 - 1 - log sigma^2 by its own series' function, or alpha = 1e-4 drowns in rounding
    excess = sigma**2 - 1
    return 0.5 * (images.shape[1] * (excess - math.log1p(excess)) + alpha**2 * squares)


def shift_z(images: torch.Tensor, alpha: float, sigma: float, n: int, seed: int = 0) -> float:
    """z of n draws of x_T from these images [N,D], along their mean, against n of N(0, I).

    The projection of N(0, I) noise on a unit vector is N(0, 1), so it is drawn as that.
    """
    mean = images.mean(dim=0)
    signal = (images @ (mean / mean.norm())).numpy()
    generator = np.random.default_rng(seed)
    ours = alpha * signal[np.arange(n) % len(signal)] + sigma * generator.standard_normal(n)
    return float(ours.mean() - generator.standard_normal(n).mean()) / math.sqrt(2 / n)


def p_of_no_shift(z: float) -> float:
    """Two-sided: of so large a z where there is no shift."""
    return 2 * float(ndtr(-abs(z)))


def power_at(excluded: float, level: float) -> float:
    """Of the two-sided test at that level, where the shift is so many standard errors."""
    critical = -ndtri(level / 2)
    return float(ndtr(excluded - critical) + ndtr(-critical - excluded))


def p_of_shift(z: float, excluded: float) -> float:
    """Of so small a z where the shift is so many standard errors; one-sided and doubled, as of two one-sided tests."""
    return min(1.0, 2 * float(ndtr(abs(z) - excluded) - ndtr(-abs(z) - excluded)))
