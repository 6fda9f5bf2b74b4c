"""x_T is N(0, I): the exact divergence per dimension, and a two-sample test that could refute it.

    KL(q(x_T|x_0) || N(0, I)) = 1/2 sum (sigma^2 + alpha^2 x_0^2 - 1 - log sigma^2), mean over the images,
                                divided by the number of values of an image, and by log 2: bits per dimension

A sum over the values of an image would say more against large images than against small ones on the same schedule. The
unit is that in which Ho et al. 2020 (section 4) state L_T, 1e-5 for their schedule on CIFAR-10.

The test looks where what is left of x_0 adds up over images: at the projection of x_T on the mean image. Draws of it are
compared with as many draws of N(0, 1), by a two-sample z-test of the means, the most powerful one for a shift. Its power
is known; a test that would hardly find the shift does not support that there is none.
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
from replication.report.claims.verdict import Range
from replication.settings import Part

LEVEL = 0.01  # a true N(0, I) is called another with this probability
NOT_READ = (math.nan, math.nan, math.nan)  # bits, p and power of images that are not looked at


@cache  # the same in every profile
def _tested(dataset: str, alpha: float, sigma: float, n: int) -> tuple[float, float, float]:
    """(bits per dimension, p, power) on the training images of a dataset."""
    images = Part.model_validate_json(dataset).build(DATASETS).load("train").images.flatten(1)  # [N,D]
    signed = to_signed(images, torch.float64)
    bits = divergence(signed, alpha, sigma) / images.shape[1] / math.log(2)
    return bits, *shift_test(signed, alpha, sigma, n)


@CLAIMS.register("prior")
class Prior(Claim):
    """q(x_T) on each schedule is N(0, I): at most `bits` per dimension away from it, and no test tells it apart.

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
        here = self.dataset.build(DATASETS).present()
        reason = evidence.shortfall(self) or ("" if here else f"dataset {self.dataset} is not on this machine")
        for part in self.schedules:
            schedule, t = part.build(SCHEDULES), torch.tensor(self.end).double()
            ends = float(schedule.alpha(t)), float(schedule.sigma(t))
            bits, p, power = NOT_READ if reason else _tested(self.dataset.model_dump_json(), *ends, self.images)
            name = f"{part} at t = {self.end:g}" if self.end < 1 else str(part)
            formula = f"p of the two-sample test, n = {self.images:,}" + ("" if reason else f", power {power:.2f}")
            of_bits = Reading.exact(f"{name}: divergence", "KL, bits/dimension", Range(high=self.bits), bits)
            of_test = Reading.exact(f"{name}: test", formula, Range(low=LEVEL), p, power)
            yield from (replace(reading, reason=reason) for reading in (of_bits, of_test))


def divergence(images: torch.Tensor, alpha: float, sigma: float) -> float:
    """Mean over images [N,D] of KL(N(alpha x_0, sigma^2 I) || N(0, I)), nats."""
    squares = float(torch.linalg.vector_norm(images)) ** 2 / len(images)
    # sigma^2 - 1 - log sigma^2 by its own series' function, or alpha = 1e-4 drowns in rounding
    excess = sigma**2 - 1
    return 0.5 * (images.shape[1] * (excess - math.log1p(excess)) + alpha**2 * squares)


def shift_test(images: torch.Tensor, alpha: float, sigma: float, n: int, seed: int = 0) -> tuple[float, float]:
    """(two-sided p, power at LEVEL) for n draws of x_T from these images [N,D] against n of N(0, I).

    The projection of N(0, I) noise on a unit vector is N(0, 1), so it is drawn as that.
    """
    mean = images.mean(dim=0)
    direction = mean / mean.norm()
    signal = (images @ direction).numpy()
    generator = np.random.default_rng(seed)
    ours = alpha * signal[np.arange(n) % len(signal)] + sigma * generator.standard_normal(n)
    z = (ours.mean() - generator.standard_normal(n).mean()) / math.sqrt(2 / n)
    critical, shift = -ndtri(LEVEL / 2), alpha * float(mean.norm()) * math.sqrt(n / 2)
    return 2 * float(ndtr(-abs(z))), float(ndtr(shift - critical) + ndtr(-critical - shift))
