"""Text as the numbers of BERT's word pieces, for a text transformer that is trained inside the network: LDM's text-to-image."""

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor

from replication.conditions.captions import shown
from replication.conditions.condition import LabelledDataset, Sizes
from replication.conditions.encoder_files import EncoderFiles, EncoderKind, FromFiles, located
from replication.registry import CONDITIONS
from replication.types import InputError

MODEL = "CompVis/ldm-text2im-large-256"
KIND = EncoderKind(
    user="condition 'bert-tokens'",
    model_types=(),
    tokenizer="BertTokenizer",
    network="",
    tokenizer_files=(("vocab.txt",), ("tokenizer.json",)),
    example=MODEL,
)


@CONDITIONS.register("bert-tokens")
class BertTokens(FromFiles):
    """Captions as BERT's word pieces, without case (Rombach et al. 2022, section 4.3.1 and appendix E.2.1).

    cond: Int[B,length]: a start, the pieces, an end, then padding, 0. model: a folder with the tokenizer's files, there or in
    `tokenizer`, or its id on the Hub; LDM's is that of bert-base-uncased. vocabulary: what the network takes, of which a
    tokenizer may use less. The null is the empty text. A plan needs no files.
    """

    tokens_alone = True

    def __init__(
        self, model: str = MODEL, length: PositiveInt = 77, vocabulary: PositiveInt = 30522, dropout: float = 0.1
    ):
        super().__init__(model, dropout)
        self._sizes = Sizes(vocabulary=vocabulary, length=length)

    @cached_property
    def files(self) -> EncoderFiles:
        return located(self.model, KIND)

    def encoders(self) -> tuple[EncoderFiles, ...]:
        return (self.files,)

    def sizes(self, dataset: LabelledDataset) -> Sizes:
        return self._sizes

    def null(self, dataset: LabelledDataset) -> Tensor:
        return super().null(dataset) if self.here else torch.zeros(self._sizes.length, dtype=torch.int64)

    def encoded(self, texts: Sequence[str], dataset: LabelledDataset, device: torch.device) -> Tensor:
        rows: list[list[int]] = [_tokenizer(self.files)(text, verbose=False)["input_ids"] for text in texts]
        vocabulary, length = self._sizes.vocabulary, self._sizes.length
        for text, row in zip(texts, rows, strict=True):
            if len(row) > length:
                raise InputError(
                    f"prompt {shown(text)} has {len(row):,} tokens, start and end included, and {length} fit"
                )
            if max(row) >= vocabulary:
                raise KIND.error(f"{self.files.tokenizer} has a token {max(row)}, and the vocabulary is {vocabulary:,}")
        padded = [row + [0] * (length - len(row)) for row in rows]
        return torch.tensor(padded, dtype=torch.int64, device=device).reshape(-1, length)


@cache  # a sweep's cells share it
def _tokenizer(files: EncoderFiles) -> Any:
    """Raises InputError for files that are damaged, and where padding is not token 0."""
    import transformers  # slow

    try:
        found = getattr(transformers, KIND.tokenizer).from_pretrained(str(files.tokenizer), local_files_only=True)
    except Exception as error:  # the library raises bare subclasses of Exception for bad files
        raise KIND.error(f"{files.tokenizer} does not hold BERT's tokenizer ({error})") from error
    if found.pad_token_id != 0:
        raise KIND.error(f"{files.tokenizer} pads with token {found.pad_token_id}, and padding is token 0")
    return found
