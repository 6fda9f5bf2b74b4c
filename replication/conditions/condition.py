"""What a condition is, and which labels the images of a sample set are asked for."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from replication.noise import ImageNoise
from replication.types import InputError


class LabelledDataset(Protocol):
    """As much of a dataset as a condition speaks of."""

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...


class Numbers(NamedTuple):
    """What a network must know to be told: how many classes, how many different tokens, how many of them at a time."""

    classes: int = 0
    vocabulary: int = 0
    length: int = 0


NOTHING = Numbers()


class Condition(ABC):
    """Turns labels or prompts into what the network takes as `cond`, and says what stands for "nothing said".

    Whichever it is, `cond` has one shape and dtype beyond B. `of` and `null` raise InputError for a dataset of which the
    condition has nothing to say, `of_prompts` for a prompt that it does not understand.
    dropout: how often nothing is said while training, which classifier-free guidance needs (Ho and Salimans 2022).
    """

    version = 1

    def __init__(self, dropout: float):
        if not 0 <= dropout < 1:
            raise InputError(f"condition: dropout must be in [0, 1), not {dropout}")
        self.dropout = dropout

    @abstractmethod
    def of(self, labels: Tensor, images: Tensor, dataset: LabelledDataset) -> Tensor:
        """`cond` for labels Int[B] and the images' numbers Int[B], on their device.

        A number is the image's place in the training split, or in the sample set: it chooses among several captions.
        """

    @abstractmethod
    def null(self, dataset: LabelledDataset) -> Tensor:
        """The `cond` of one image that nothing is said about."""

    def numbers(self, dataset: LabelledDataset) -> Numbers:
        """What a network of this condition must know; nothing where it is told a context that is made already."""
        return NOTHING

    @abstractmethod
    def of_prompts(self, prompts: Sequence[str], dataset: LabelledDataset) -> Tensor:
        """`cond` for words of one's own, one prompt per image."""

    def identity(self, described: dict[str, Any], dataset: LabelledDataset) -> dict[str, Any]:
        """What enters keys: the registry's description of this part, and whatever else fixes `cond` on the dataset."""
        return described


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
