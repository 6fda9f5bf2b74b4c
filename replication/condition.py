"""What a condition is, and which labels the images of a sample set are asked for."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from replication.noise import ImageNoise
from replication.types import InputError


class Condition(ABC):
    """Turns labels into what the network takes as `cond`, and says what stands for "nothing said".

    dropout: how often nothing is said while training, which classifier-free guidance needs (Ho and Salimans 2022).
    """

    version = 1
    dropout: float

    @abstractmethod
    def of(self, labels: Tensor) -> Tensor:
        """`cond` for labels Int[B], one per image."""

    @abstractmethod
    def null(self, classes: int) -> Tensor:
        """The `cond` of one image that nothing is said about, for a dataset of so many classes."""


def labels_of(policy: str, start: int, stop: int, n: int, classes: int, seed: int) -> Tensor:
    """The labels of images start..stop-1 of n, Int[stop-start]; that of image i depends on (seed, i) alone.

    random: each drawn by itself, all classes equally likely (ADM, DiT and EDM do so). uniform: the classes in turn, so
    that no two counts differ by more than one. balanced: the same, and exactly n / classes of each (what the published
    value of LDM-4-G takes). Raises InputError where `balanced` can't be had.
    """
    indices = torch.arange(start, stop)
    if policy == "random":
        return ImageNoise(seed, indices).integers(classes)
    if policy == "balanced" and n % classes:
        near = n - n % classes
        raise InputError(
            f"protocol.labels = balanced: {n} images can't be {classes} equal classes; n = {near} can, or labels = uniform"
        )
    return indices % classes
