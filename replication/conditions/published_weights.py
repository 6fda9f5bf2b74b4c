"""Text encoders on the Hub, with their tokenizers. Each is called by its id there, as a condition's `model` is."""

from typing import Any

from replication.conditions.bert_tokens import MODEL as LDM
from replication.conditions.sdxl_text import MODEL as SDXL
from replication.layers.weights import HUB, Published

SPELLINGS: tuple[Any, ...] = ()  # they are read by the library that wrote them


def encoder(model: str, part: str, what: str = "a text encoder", licence: str = "see there") -> Published:
    """The text encoders of a model on the Hub; `part` is the condition that encodes with them."""
    return Published(model, part, what, "transformers", HUB + model, licence)


WEIGHTS = (
    encoder("openai/clip-vit-large-patch14", "clip-text", "CLIP ViT-L/14, which Stable Diffusion 1 reads"),
    encoder("google-t5/t5-base", "t5-text", "T5's encoder, 220M parameters with its decoder", "Apache-2.0"),
    encoder(LDM, "bert-tokens", "BERT's tokenizer, which LDM's text-to-image reads", "Apache-2.0"),
    encoder(SDXL, "sdxl-text", "SDXL's two text encoders", "CreativeML OpenRAIL++-M"),
)
