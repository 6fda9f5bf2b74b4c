"""What a condition is, that by class, and which labels the images of a sample set are drawn for."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from replication.noise import ImageNoise
from replication.registry import CONDITIONS, unknown
from replication.types import InputError


class LabelledDataset(Protocol):
    """The part of a dataset that a condition depends on."""

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def captions(self) -> tuple[str, ...]: ...

    def ensure_captions(self) -> None: ...


class Sizes(NamedTuple):
    """What a network must be built for: the number of classes, the size of the vocabulary, the tokens of one text."""

    classes: int = 0
    vocabulary: int = 0
    length: int = 0


UNCONDITIONAL = Sizes()


class Condition(ABC):
    """Turns labels or prompts into `cond`, the network's third argument, and has a null `cond` that stands for neither.

    All of them have one shape and dtype beyond B. `of` and `null` raise InputError for a dataset that the condition
    does not apply to, `of_prompts` for a prompt that cannot be encoded.
    dropout: how often training takes the null instead, which classifier-free guidance needs (Ho and Salimans 2022); 0.1
    is the share of DiT, LDM and Stable Diffusion.
    """

    version = 1

    def __init__(self, dropout: float = 0.1):
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
        """The unconditional `cond` of one image."""

    @abstractmethod
    def of_prompts(self, prompts: Sequence[str], dataset: LabelledDataset) -> Tensor:
        """`cond` for a user's own words, one prompt per image."""

    @property
    def lacking(self) -> str:
        """The Hub's id of what it encodes with, where that has to be fetched first; mostly empty."""
        return ""

    def ensure(self, dataset: LabelledDataset) -> None:  # noqa: B027  a label needs nothing
        """Raises InputError where what it encodes, or with what, is not on this machine; a plan may still know its `null`."""

    def sizes(self, dataset: LabelledDataset) -> Sizes:
        """What a network of this condition is built for; zeros where `cond` is a context that is encoded already."""
        return UNCONDITIONAL

    def identity(self, described: dict[str, Any], dataset: LabelledDataset) -> dict[str, Any]:
        """What enters keys: the registry's description of this part, and whatever else fixes `cond` on the dataset."""
        return described


@CONDITIONS.register("label")
class Label(Condition):
    """The class of an image, as in DiT (Peebles and Xie 2023) and class-conditional LDM.

    cond: Int[B], the label itself; the number after the last class is the null. A prompt is the name of a class, or
    one of its captions, "a photo of a ship".
    """

    def of(self, labels: Tensor, images: Tensor, dataset: LabelledDataset) -> Tensor:
        return labels

    def null(self, dataset: LabelledDataset) -> Tensor:
        return torch.tensor(len(dataset.classes))

    def of_prompts(self, prompts: Sequence[str], dataset: LabelledDataset) -> Tensor:
        each = len(dataset.captions) // len(dataset.classes)
        known = {caption: i // each for i, caption in enumerate(dataset.captions)}
        known |= {name: i for i, name in enumerate(dataset.classes)}
        for prompt in prompts:
            if prompt not in known:
                raise unknown(f"class of {dataset.name}", prompt, list(dataset.classes))
        return torch.tensor([known[prompt] for prompt in prompts])

    def sizes(self, dataset: LabelledDataset) -> Sizes:
        return Sizes(classes=len(dataset.classes))


def labels_of(policy: str, start: int, stop: int, n: int, classes: int, seed: int) -> Tensor:
    """The labels of images start..stop-1 of n, Int[stop-start]; that of image i depends on (seed, i) alone.

    random: each drawn by itself, all classes equally likely (ADM, DiT and EDM do so). uniform: the classes in turn, so
    that no two counts differ by more than one. balanced: the same, and exactly n / classes of each (what the published
    value of LDM-4-G takes). Other labels make other images: they raise VERSION of diffusion/sampling.py. Raises InputError
    where `balanced` can't be had.
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
