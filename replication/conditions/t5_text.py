"""T5's encoder (Raffel et al. 2020), which Imagen introduced to text-to-image diffusion (Saharia et al. 2022).

Padding is masked inside the encoder, as DeepFloyd IF and PixArt-alpha do, and its states are then set to zero, as
imagen-pytorch does: the networks here take no mask, so padding must be the same vector for every prompt.
"""

from typing import Any

from pydantic import PositiveInt
from torch import Tensor

from replication.conditions.encoded_text import EncodedText, TextEncoder
from replication.conditions.encoder_files import EncoderKind
from replication.conditions.prompts import shown
from replication.registry import CONDITIONS
from replication.types import InputError


class T5Encoder(TextEncoder):
    """States of the last layer, after its norm. Positions are relative: any length will do.

    The tokenizer must be a tokenizer.json: spiece.model, which some repositories have alone, needs a library more. All
    of T5's English models share one vocabulary, so that google-t5/t5-base's file serves them too.
    """

    kind = EncoderKind("t5-text", ("t5",), (("tokenizer.json",),), "google-t5/t5-base")

    def _classes(self) -> tuple[Any, Any]:
        from transformers import T5EncoderModel, T5Tokenizer

        return T5Tokenizer, T5EncoderModel

    def _tokens(self, prompt: str, length: int) -> list[int]:
        """Raises InputError also for characters that T5 has no token for: it would read all of them as one."""
        tokens = super()._tokens(prompt, length)
        if self.tokenizer.unk_token_id in tokens:
            raise InputError(f"prompt {shown(prompt)} has characters that the tokenizer of {self.files.folder} lacks")
        return tokens

    def _states(self, tokens: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.network(input_ids=tokens, attention_mask=mask).last_hidden_state
        return states * mask[..., None]


@CONDITIONS.register("t5-text")
class T5Text(EncodedText):
    """Captions by T5's encoder (Raffel et al. 2020), as Imagen uses it (Saharia et al. 2022).

    cond: Float[B,length,W], W that of the model named. DeepFloyd IF's length is 77, PixArt-alpha's 120.
    """

    encoder_class = T5Encoder

    def __init__(self, model: str, dropout: float = 0.1, length: PositiveInt = 77):
        super().__init__(model, dropout)
        self._length = length

    @property
    def length(self) -> int:
        return self._length
