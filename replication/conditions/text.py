"""Text as word numbers, for a small text transformer that is trained inside the network."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

from replication.conditions.captions import Captioned, captions, shown
from replication.conditions.condition import LabelledDataset, Sizes
from replication.registry import CONDITIONS, unknown
from replication.types import InputError

PADDING, START, FIRST_WORD = 0, 1, 2
LENGTH = 12  # the start token and eleven words


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
