"""T5's encoder (Raffel et al. 2020), which Imagen introduced to text-to-image diffusion (Saharia et al. 2022).

Padding is masked inside the encoder, as DeepFloyd IF and PixArt-alpha do, and its states are then set to zero, as
imagen-pytorch does: the networks here take no mask, so padding must be the same vector for every prompt.
"""

from pydantic import PositiveInt
from torch import Tensor

from replication.conditions.captions import shown
from replication.conditions.encoder_files import EncoderKind
from replication.conditions.pretrained_text import PretrainedText
from replication.registry import CONDITIONS
from replication.types import InputError


@CONDITIONS.register("t5-text")
class T5Text(PretrainedText):
    """Captions by T5's encoder (Raffel et al. 2020), as Imagen uses it (Saharia et al. 2022).

    cond: Float[B,length,W], the last layer's states after its norm, W that of the model named. Positions are relative:
    any length will do. DeepFloyd IF's is 77, PixArt-alpha's 120. The tokenizer must be a tokenizer.json, since
    spiece.model needs a library more; T5's English models share one vocabulary, so google-t5/t5-base's file fits all.
    """

    kind = EncoderKind(
        condition="t5-text",
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
