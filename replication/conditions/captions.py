"""Conditions by text: images are paired with their dataset's captions, and a prompt may be any text that can be encoded.

The one that needs no files is here, word numbers for a small text transformer that is trained inside the network.
"""

import re
import unicodedata
from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from replication.conditions.condition import Condition, LabelledDataset, Sizes
from replication.registry import CONDITIONS, unknown
from replication.settings import content_key
from replication.types import InputError

SHOWN = 60  # characters of a prompt that a message repeats
PADDING, START, FIRST_WORD = 0, 1, 2
LENGTH = 12  # the start token and eleven words
TABLE = 2**28  # bytes that the encodings of all captions may have, to be kept; of others those in use are encoded
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
        texts, numbers = captions(dataset), caption_numbers(labels, images, dataset)
        if len(texts) * self.null(dataset).nbytes <= TABLE:
            return self._table(texts, dataset, labels.device)[numbers]
        used, places = numbers.unique(return_inverse=True)
        return self.encoded([texts[int(number)] for number in used], dataset, labels.device)[places]

    def ensure(self, dataset: LabelledDataset) -> None:
        dataset.ensure_captions()

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
    labels i % K meet every caption equally often, and with one class, each training image has its own caption.
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


@CONDITIONS.register("text")
class Text(Captioned):
    """Captions as word numbers, for a text transformer trained inside the network (Rombach et al. 2022, 4.3.1).

    cond: Int[B,12], token numbers: start, one per word, padding 0. The vocabulary is the words of the dataset's captions.
    """

    length = LENGTH

    def encoded(self, texts: Sequence[str], dataset: LabelledDataset, device: torch.device) -> Tensor:
        known = words(captions(dataset))
        rows = [[START, *_numbers(text, known)] for text in texts]
        padded = [row + [PADDING] * (LENGTH - len(row)) for row in rows]
        return torch.tensor(padded, dtype=torch.int64, device=device).reshape(-1, LENGTH)

    def sizes(self, dataset: LabelledDataset) -> Sizes:
        longest = max(captions(dataset), key=lambda caption: len(_split(caption)))
        if (count := len(_split(longest))) >= LENGTH:
            raise InputError(f"caption {shown(longest)} of {dataset.name!r} has {count} words, and {LENGTH - 1} fit")
        return Sizes(vocabulary=FIRST_WORD + len(words(captions(dataset))), length=self.length)


@cache
def words(captions: tuple[str, ...]) -> dict[str, int]:
    """Every word of the captions, in the order of their first use, with its token number: word i is token i + 2."""
    found = dict.fromkeys(word for caption in captions for word in _split(caption))
    return {word: i for i, word in enumerate(found, FIRST_WORD)}


def _numbers(text: str, known: Mapping[str, int]) -> list[int]:
    found = _split(text)
    if text and not found:
        raise InputError(f"prompt {shown(text)} has no words: describe the image")
    if len(found) >= LENGTH:
        raise InputError(f"prompt {shown(text)} has {len(found):,} words, and {LENGTH - 1} fit")
    for word in found:
        if word not in known:
            raise InputError(f"prompt {shown(text)}: {unknown('word', word[:40], list(known))}")
    return [known[word] for word in found]


def _split(text: str) -> list[str]:
    """Lower-case words; punctuation separates them and is dropped. Other symbols are no punctuation, and no caption's."""
    normal = unicodedata.normalize("NFKC", text).lower()
    return re.sub(".", lambda c: " " if unicodedata.category(c[0]).startswith("P") else c[0], normal).split()
