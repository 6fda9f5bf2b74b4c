"""Text as word numbers, for a small text transformer that is trained inside the network."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from replication.conditions.captions import caption_numbers, captions
from replication.conditions.condition import Condition, LabelledDataset, Sizes
from replication.conditions.prompts import readable, shown
from replication.registry import CONDITIONS, unknown
from replication.settings import content_key
from replication.types import InputError

PADDING, START, FIRST_WORD = 0, 1, 2
LENGTH = 12  # the start token and eleven words


@CONDITIONS.register("text")
class Text(Condition):
    """Captions as word numbers, for a text transformer trained inside the network (Rombach et al. 2022, 4.3.1).

    cond: Int[B,12], token numbers: start, one per word, padding 0. Images are paired with the dataset's captions.

    The vocabulary is the words of the dataset's captions. The null is the empty prompt, the start token alone. Dropout
    0.1 is the usual one of text-to-image networks.
    """

    length = LENGTH

    def __init__(self, dropout: float = 0.1):
        super().__init__(dropout)

    def of(self, labels: Tensor, images: Tensor, dataset: LabelledDataset) -> Tensor:
        numbers = caption_numbers(labels, images, dataset)
        return _table(captions(dataset), labels.device)[numbers]

    def null(self, dataset: LabelledDataset) -> Tensor:
        captions(dataset)
        return _padded([])

    def sizes(self, dataset: LabelledDataset) -> Sizes:
        return Sizes(vocabulary=FIRST_WORD + len(words(captions(dataset))), length=self.length)

    def of_prompts(self, prompts: Sequence[str], dataset: LabelledDataset) -> Tensor:
        """Raises InputError for a prompt that is blank, too long or not UTF-8, or that has a word no caption has."""
        return _tokens(prompts, captions(dataset))

    def identity(self, described: dict[str, Any], dataset: LabelledDataset) -> dict[str, Any]:
        return {**described, "captions": content_key(captions(dataset))}


@cache
def words(captions: tuple[str, ...]) -> dict[str, int]:
    """Every word of the captions, in the order of their first use, with its token number: word i is token i + 2."""
    found = dict.fromkeys(word for caption in captions for word in _split(caption))
    return {word: i for i, word in enumerate(found, FIRST_WORD)}


def _split(prompt: str) -> list[str]:
    """Lower-case words; punctuation separates them and is dropped. Other symbols are no punctuation, and no caption's."""
    normal = unicodedata.normalize("NFKC", prompt).lower()
    return re.sub(".", lambda c: " " if unicodedata.category(c[0]).startswith("P") else c[0], normal).split()


def _padded(numbers: Sequence[int]) -> Tensor:
    return torch.tensor([START, *numbers] + [PADDING] * (LENGTH - 1 - len(numbers)))


def _tokens(prompts: Sequence[str], captions: tuple[str, ...]) -> Tensor:
    known = words(captions)
    rows = [_padded([_number(word, prompt, known) for word in _words_of(prompt)]) for prompt in prompts]
    return torch.stack(rows) if rows else torch.empty(0, LENGTH, dtype=torch.int64)


def _words_of(prompt: str) -> list[str]:
    found = _split(readable(prompt))
    if not found:
        raise InputError(f"prompt {shown(prompt)} has no words: describe the image")
    if len(found) >= LENGTH:
        raise InputError(f"prompt {shown(prompt)} has {len(found):,} words, and {LENGTH - 1} fit")
    return found


def _number(word: str, prompt: str, known: dict[str, int]) -> int:
    if word not in known:
        raise InputError(f"prompt {shown(prompt)}: {unknown('word', word[:40], list(known))}")
    return known[word]


@cache
def _table(captions: tuple[str, ...], device: torch.device) -> Tensor:
    return _tokens(captions, captions).to(device)
