"""Text as the hidden states of a frozen pretrained encoder: CLIP's or T5's."""

from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from functools import cache, cached_property
from typing import Any, ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from replication.conditions.captions import shown
from replication.conditions.condition import LabelledDataset
from replication.conditions.encoder_files import EncoderFiles, EncoderKind, FromFiles, located
from replication.numerics import numerics
from replication.registry import CONDITIONS
from replication.types import InputError

BATCH = 32  # texts that are encoded together


class PretrainedText(FromFiles):
    """cond: Float[B,L,W], padded to L tokens, start and end included, of W numbers each.

    model: see encoder_files.py. A prompt may be in any words. The network is float32, and lies in the CPU's memory between
    uses.
    """

    kind: ClassVar[EncoderKind]

    @property
    @abstractmethod
    def length(self) -> int:
        """L, tokens."""

    @abstractmethod
    def _states(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """The encoding, hidden states Float[B,L,W] for tokens Int[B,L]; mask Int[B,L] is 0 at padding."""

    @cached_property
    def files(self) -> EncoderFiles:
        return located(self.model, self.kind)

    def encoders(self) -> tuple[EncoderFiles, ...]:
        return (self.files,)

    @property
    def tokenizer(self) -> Any:
        return self._loaded[0]

    @property
    def network(self) -> Any:
        return self._loaded[1]

    @property
    def _loaded(self) -> tuple[Any, Any]:
        return loaded(self.kind, self.files)

    def encoded(self, texts: Sequence[str], dataset: LabelledDataset, device: torch.device) -> Tensor:
        rows = [self._tokens(text) for text in texts or [""]]  # networks do not take an empty batch
        padded = [row + [self.tokenizer.pad_token_id] * (self.length - len(row)) for row in rows]
        tokens = torch.tensor(padded, dtype=torch.int64, device=device).reshape(-1, self.length)
        mask = (torch.arange(self.length) < torch.tensor([len(row) for row in rows])[:, None]).long().to(device)
        network = self.network.to(device)
        try:
            with torch.no_grad(), numerics("float32", device):
                pieces = zip(tokens.split(BATCH), mask.split(BATCH), strict=True)
                return torch.cat([self._states(*piece) for piece in pieces])[: len(texts)]
        finally:
            network.to("cpu")  # training needs the device's memory

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer(text, verbose=False)["input_ids"]
        if len(tokens) > self.length:
            raise InputError(
                f"prompt {shown(text)} has {len(tokens):,} tokens, start and end included, and {self.length} fit"
            )
        return tokens

    def _fixed_by(self) -> tuple[Hashable, ...]:
        return self.files, self.length


@CONDITIONS.register("clip-text")
class ClipText(PretrainedText):
    """Captions by CLIP's text encoder (Radford et al. 2021), as Stable Diffusion v1 uses it.

    cond: Float[B,77,768] for ViT-L/14, the states after the final norm. Padding is the tokenizer's, the end token again,
    and no mask is passed, as in SD: that changes nothing before the end token, since attention is causal.
    """

    kind = EncoderKind(
        user="condition 'clip-text'",
        model_types=("clip", "clip_text_model"),
        tokenizer="CLIPTokenizer",
        network="CLIPTextModel",
        tokenizer_files=(("tokenizer.json",), ("vocab.json", "merges.txt")),
        example="openai/clip-vit-large-patch14",
    )

    def __init__(self, model: str = "openai/clip-vit-large-patch14", dropout: float = 0.1):
        super().__init__(model, dropout)

    @property
    def length(self) -> int:
        return min(self.network.config.max_position_embeddings, self.tokenizer.model_max_length)

    def _states(self, tokens: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.network(input_ids=tokens).last_hidden_state
        return states


@CONDITIONS.register("t5-text")
class T5Text(PretrainedText):
    """Captions by T5's encoder (Raffel et al. 2020), as Imagen uses it (Saharia et al. 2022).

    Padding is masked inside the encoder, as DeepFloyd IF and PixArt-alpha do, and its states are then set to zero, as
    imagen-pytorch does: the networks here take no mask, so padding must be the same vector for every prompt.
    cond: Float[B,length,W], the last layer's states after its norm, W that of the model named. Positions are relative:
    any length will do. DeepFloyd IF's is 77, PixArt-alpha's 120. The tokenizer must be a tokenizer.json, since
    spiece.model needs a library more; T5's English models share one vocabulary, so google-t5/t5-base's file fits all.
    """

    kind = EncoderKind(
        user="condition 't5-text'",
        model_types=("t5",),
        tokenizer="T5Tokenizer",
        network="T5EncoderModel",
        tokenizer_files=(("tokenizer.json",),),
        example="google-t5/t5-base",
    )

    def __init__(self, model: str, dropout: float = 0.1, length: PositiveInt = 77):
        super().__init__(model, dropout)
        self._length = length

    @property
    def length(self) -> int:
        return self._length

    def _tokens(self, text: str) -> list[int]:
        tokens = super()._tokens(text)
        if self.tokenizer.unk_token_id in tokens:  # one token for every character that it lacks
            raise InputError(f"prompt {shown(text)} has characters that the tokenizer of {self.files.folder} lacks")
        return tokens

    def _states(self, tokens: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.network(input_ids=tokens, attention_mask=mask).last_hidden_state
        return states * mask[..., None]


@cache  # a sweep's cells share it
def loaded(
    kind: EncoderKind, files: EncoderFiles, official: Callable[[EncoderFiles], tuple[dict[str, Any], Any]] | None = None
) -> tuple[Any, Any]:
    """Tokenizer and network, frozen; raises InputError for files that are damaged or do not fit each other.

    official: where the network is not in a folder of its own, its configuration and state dict.
    """
    import transformers  # slow

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    about = f"{files.folder} does not hold a {kind.network} and its tokenizer"
    try:
        tokenizer = getattr(transformers, kind.tokenizer).from_pretrained(str(files.tokenizer), local_files_only=True)
        of: dict[str, Any] = {"dtype": torch.float32, "output_loading_info": True}
        if official is None:
            where, of = str(files.folder), {**of, "local_files_only": True, "use_safetensors": True}
        else:
            config, state = official(files)
            where, of = None, {**of, "config": transformers.CLIPTextConfig(**config), "state_dict": state}
        network, found = getattr(transformers, kind.network).from_pretrained(where, **of)
    except Exception as error:  # tokenizers and safetensors raise bare subclasses of Exception for bad files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise kind.error(f"{about} ({reason})") from error
    if missing := sorted(found["missing_keys"]):  # transformers would leave random weights there
        raise kind.error(f"{about} ({len(missing)} tensors are missing, {missing[0]} among them)")
    if tokenizer.pad_token_id is None:
        raise kind.error(f"{about} (the tokenizer has no padding token)")
    return tokenizer, network.eval().requires_grad_(False)
