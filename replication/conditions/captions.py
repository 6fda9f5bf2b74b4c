"""Conditions by text: images are paired with their dataset's captions, and a prompt may be any text that can be encoded."""

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from replication.conditions.condition import Condition, LabelledDataset
from replication.settings import content_key
from replication.types import InputError

SHOWN = 60  # characters of a prompt that a message repeats
_TABLES: dict[Hashable, Tensor] = {}  # every caption encoded, once per process: a sweep's cells share it


class Captioned(Condition):
    """`cond` is the encoding of a text; the null is that of the empty text, and a prompt is UTF-8 and not blank."""

    @abstractmethod
    def encoded(self, texts: Sequence[str], dataset: LabelledDataset, device: torch.device) -> Tensor:
        """`cond` of the texts, "" among them; raises InputError for one that is too long or has unknown words."""

    def _fixed_by(self) -> tuple[Hashable, ...]:
        """What the encoding of a text depends on besides the class and the dataset's captions."""
        return ()

    def of(self, labels: Tensor, images: Tensor, dataset: LabelledDataset) -> Tensor:
        return self._table(captions(dataset), dataset, labels.device)[caption_numbers(labels, images, dataset)]

    def null(self, dataset: LabelledDataset) -> Tensor:
        return self._table(("",), dataset, torch.device("cpu"))[0]

    def of_prompts(self, prompts: Sequence[str], dataset: LabelledDataset) -> Tensor:
        return self.encoded([readable(prompt) for prompt in prompts], dataset, torch.device("cpu"))

    def identity(self, described: dict[str, Any], dataset: LabelledDataset) -> dict[str, Any]:
        return {**described, "captions": content_key(captions(dataset))}

    def _table(self, texts: tuple[str, ...], dataset: LabelledDataset, device: torch.device) -> Tensor:
        key = (type(self), self._fixed_by(), captions(dataset), texts, device)
        if key not in _TABLES:
            _TABLES[key] = self.encoded(texts, dataset, device)
        return _TABLES[key]


def captions(dataset: LabelledDataset) -> tuple[str, ...]:
    """Every caption of the dataset, those of one class together.

    Raises InputError for a dataset that has none, or not equally many for each class.
    """
    if not dataset.captions:
        raise InputError(f"dataset {dataset.name!r} has no captions, and a condition by text needs them")
    if len(dataset.captions) % len(dataset.classes):
        raise InputError(
            f"dataset {dataset.name!r} has {len(dataset.captions)} captions for {len(dataset.classes)} classes; each class "
            "needs equally many"
        )
    return dataset.captions


def caption_numbers(labels: Tensor, images: Tensor, dataset: LabelledDataset) -> Tensor:
    """Indices into `captions(dataset)` for images of labels Int[B] and numbers Int[B], Int[B]; raises as it does.

    Image number i of class k takes caption (i // K) % T of the T captions of its class, for K classes: so balanced
    labels i % K meet every caption equally often.
    """
    classes = len(dataset.classes)
    per_class = len(captions(dataset)) // classes
    return labels * per_class + (images // classes) % per_class


def readable(prompt: str | bytes) -> str:
    """The prompt; raises InputError where it is blank or not UTF-8, as lone surrogates from the command line are."""
    try:
        text = prompt.decode() if isinstance(prompt, bytes) else prompt.encode().decode()
    except UnicodeError as error:
        raise InputError(f"prompt {shown(prompt)} is not valid UTF-8 ({error.reason})") from error  # type: ignore[attr-defined]
    if not text.strip():
        raise InputError(f"prompt {shown(prompt)} is blank: describe the image")
    return text


def shown(prompt: str | bytes) -> str:
    """The prompt as a message quotes it: one line of ASCII, shortened."""
    text = ascii(prompt)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(prompt):,} characters)"
