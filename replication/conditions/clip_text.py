"""CLIP's text encoder (Radford et al. 2021) as Stable Diffusion v1 uses it: the last hidden states, all 77 of them."""

from torch import Tensor

from replication.conditions.encoder_files import EncoderKind
from replication.conditions.pretrained_text import PretrainedText
from replication.registry import CONDITIONS


@CONDITIONS.register("clip-text")
class ClipText(PretrainedText):
    """Captions by CLIP's text encoder (Radford et al. 2021), as Stable Diffusion v1 uses it.

    cond: Float[B,77,768] for ViT-L/14, the states after the final norm. Padding is the tokenizer's, the end token again,
    and no mask is passed, as in SD: that changes nothing before the end token, since attention is causal.
    """

    kind = EncoderKind(
        condition="clip-text",
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
