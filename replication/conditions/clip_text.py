"""CLIP's text encoder (Radford et al. 2021) as Stable Diffusion v1 uses it: the last hidden states, all 77 of them."""

from typing import Any

from torch import Tensor

from replication.conditions.encoded_text import EncodedText, TextEncoder
from replication.conditions.encoder_files import EncoderKind
from replication.registry import CONDITIONS


class ClipEncoder(TextEncoder):
    """States after the final norm. Padding is the tokenizer's (CLIP: the end token again) and is attended to as SD does:

    no mask is passed, which changes nothing before the end token, since attention is causal.
    """

    kind = EncoderKind(
        "clip-text",
        ("clip", "clip_text_model"),
        (("tokenizer.json",), ("vocab.json", "merges.txt")),
        "openai/clip-vit-large-patch14",
    )

    def _classes(self) -> tuple[Any, Any]:
        from transformers import CLIPTextModel, CLIPTokenizer

        return CLIPTokenizer, CLIPTextModel

    def _states(self, tokens: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.network(input_ids=tokens).last_hidden_state
        return states


@CONDITIONS.register("clip-text")
class ClipText(EncodedText):
    """Captions by CLIP's text encoder (Radford et al. 2021), as Stable Diffusion v1 uses it.

    cond: Float[B,77,768] for ViT-L/14, Stable Diffusion v1's; dropout 0.1 is that of its training.
    """

    encoder_class = ClipEncoder

    def __init__(self, model: str = "openai/clip-vit-large-patch14", dropout: float = 0.1):
        super().__init__(model, dropout)

    @property
    def length(self) -> int:
        return min(self._encoder.network.config.max_position_embeddings, self._encoder.tokenizer.model_max_length)
