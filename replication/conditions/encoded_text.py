"""Text as the hidden states of a frozen pretrained encoder, computed once per process for all captions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from replication.conditions.captions import caption_numbers, captions
from replication.conditions.condition import Condition, LabelledDataset
from replication.conditions.encoder_files import EncoderFiles, EncoderKind, located
from replication.conditions.prompts import readable, shown
from replication.numerics import numerics
from replication.settings import content_key
from replication.types import InputError

BATCH = 32  # prompts that are encoded together


class TextEncoder(ABC):
    """A tokenizer and a network of `transformers`, frozen, float32; between uses it lies in the CPU's memory."""

    kind: ClassVar[EncoderKind]

    def __init__(self, files: EncoderFiles):
        self.files = files
        self.tokenizer, self.network = self._load()
        self._tables: dict[tuple[int, tuple[str, ...]], dict[torch.device, Tensor]] = {}

    @abstractmethod
    def _classes(self) -> tuple[Any, Any]:
        """Tokenizer and network, of `transformers`, which is slow to import and is so only here."""

    @abstractmethod
    def _states(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Hidden states Float[B,L,W] for tokens Int[B,L]; mask Int[B,L] is 0 at padding."""

    @property
    def width(self) -> int:
        return int(self.network.config.hidden_size)

    def table(self, prompts: tuple[str, ...], length: int, device: torch.device) -> Tensor:
        """Encodings of all the prompts, Float[P,L,W], kept for as long as the process lives."""
        kept = self._tables.setdefault((length, prompts), {})
        if not kept:
            kept[device] = self.encode(prompts, length, device)
        if device not in kept:
            kept[device] = next(iter(kept.values())).to(device)
        return kept[device]

    def encode(self, prompts: Sequence[str], length: int, device: torch.device) -> Tensor:
        """Encodings Float[P,L,W], padded to L = length; raises InputError for a prompt of more tokens."""
        if not prompts:
            return torch.empty(0, length, self.width, device=device)
        rows = [self._tokens(prompt, length) for prompt in prompts]
        padded = [row + [self.tokenizer.pad_token_id] * (length - len(row)) for row in rows]
        tokens = torch.tensor(padded, device=device)
        mask = (torch.arange(length) < torch.tensor([len(row) for row in rows])[:, None]).long().to(device)
        self.network.to(device)
        try:
            with torch.no_grad(), numerics("float32", device):
                pieces = zip(tokens.split(BATCH), mask.split(BATCH), strict=True)
                return torch.cat([self._states(*piece) for piece in pieces])
        finally:
            self.network.to("cpu")  # training needs the device's memory

    def _tokens(self, prompt: str, length: int) -> list[int]:
        tokens: list[int] = self.tokenizer(prompt, verbose=False)["input_ids"]
        if len(tokens) > length:
            raise InputError(
                f"prompt {shown(prompt)} has {len(tokens):,} tokens, start and end included, and {length} fit"
            )
        return tokens

    def _load(self) -> tuple[Any, Any]:
        tokenizer, network = self._classes()
        _silence()
        about = f"{self.files.folder} does not hold a {network.__name__} and its tokenizer"
        try:
            cut = tokenizer.from_pretrained(str(self.files.tokenizer), local_files_only=True)
            made, found = network.from_pretrained(
                str(self.files.folder),
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except Exception as error:  # tokenizers and safetensors raise bare subclasses of Exception for bad files
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise self.kind.error(f"{about} ({reason})") from error
        if missing := sorted(found["missing_keys"]):  # transformers would leave random weights there
            raise self.kind.error(f"{about} ({len(missing)} tensors are missing, {missing[0]} among them)")
        if cut.pad_token_id is None:
            raise self.kind.error(f"{about} (the tokenizer has no padding token)")
        return cut, made.eval().requires_grad_(False)


def _silence() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


@cache  # a sweep's cells share it
def _opened(encoder: Callable[[EncoderFiles], TextEncoder], files: EncoderFiles) -> TextEncoder:
    return encoder(files)


class EncodedText(Condition):
    """cond: Float[B,L,W]. Images are paired with the dataset's captions; the null is the encoding of the empty prompt.

    model: a folder, or the name of a downloaded repository of the Hugging Face Hub; see encoder_files.py.
    """

    encoder_class: ClassVar[type[TextEncoder]]

    def __init__(self, model: str, dropout: float):
        super().__init__(dropout)
        self._model = model

    @cached_property
    def _files(self) -> EncoderFiles:
        return located(self._model, self.encoder_class.kind)

    @cached_property
    def _encoder(self) -> TextEncoder:
        return _opened(self.encoder_class, self._files)

    @property
    @abstractmethod
    def length(self) -> int:
        """L, tokens, start and end included."""

    @property
    def width(self) -> int:
        """W, numbers per token."""
        return self._encoder.width

    def of(self, labels: Tensor, images: Tensor, dataset: LabelledDataset) -> Tensor:
        numbers = caption_numbers(labels, images, dataset)
        return self._encoder.table(captions(dataset), self.length, labels.device)[numbers]

    def null(self, dataset: LabelledDataset) -> Tensor:
        captions(dataset)
        return self._encoder.table(("",), self.length, torch.device("cpu"))[0]

    def of_prompts(self, prompts: Sequence[str], dataset: LabelledDataset) -> Tensor:
        """Raises InputError for a prompt that is blank, of too many tokens, or not UTF-8; it may be in any words."""
        return self._encoder.encode([readable(prompt) for prompt in prompts], self.length, torch.device("cpu"))

    def identity(self, described: dict[str, Any], dataset: LabelledDataset) -> dict[str, Any]:
        """The files' content instead of their path, and the captions."""
        options = {k: v for k, v in described["options"].items() if k != "model"}
        files = {"encoder": self._files.sha256, "captions": content_key(captions(dataset))}
        return {**described, "options": options, **files}
