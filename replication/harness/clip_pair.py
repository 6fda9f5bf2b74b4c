"""CLIP's two halves, ViT-L/14 (Radford et al. 2021): texts and images as vectors of one space, for the CLIP score.

Nothing is downloaded. The files are those of https://huggingface.co/openai/clip-vit-large-patch14, in the cache of the
Hugging Face Hub or in the folder $REPLICATION_CLIP_PAIR: the folder from which condition `clip-text` has its encoder.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from replication.conditions.encoder_files import EncoderFiles, located
from replication.conditions.pretrained_text import ClipText, loaded
from replication.files import known_sha256
from replication.numerics import numerics
from replication.types import InputError

VARIABLE = "REPLICATION_CLIP_PAIR"
SHA256 = "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb"  # of model.safetensors
BATCH = 64  # texts or images that are embedded together
KIND = replace(
    ClipText.kind,
    user="CLIP score",
    model_types=("clip",),
    network="CLIPModel",
    otherwise=f"${VARIABLE} = that folder; without the variable a row has no CLIP score",
)


class ImageHalf(nn.Module):
    """Normalised pixels [B,3,S,S] -> embeddings [B,D] by a CLIPModel of transformers."""

    def __init__(self, clip: Any):
        super().__init__()
        self.clip = clip

    def forward(self, pixels: Tensor) -> Tensor:
        return self.clip.visual_projection(self.clip.vision_model(pixels).pooler_output)


@dataclass(frozen=True)
class ClipPair:
    """Embeddings float32 [N,D] on the CPU, of any length; InputError where the weights are not the published ones."""

    files: EncoderFiles

    def of_texts(self, texts: Sequence[str], device: torch.device) -> Tensor:
        """Cut off where CLIP's positions end, after 77 tokens, as the authors of the score do."""
        tokenizer, clip = self._loaded()
        length = min(clip.config.text_config.max_position_embeddings, tokenizer.model_max_length)
        tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=length, return_tensors="pt")

        def embed(rows: Tensor) -> Tensor:  # without a mask: the end token attends to nothing after it
            return clip.text_projection(clip.text_model(input_ids=rows).pooler_output)

        return _embedded(clip, embed, [tokens["input_ids"]], device)

    def of_images(self, chunks: Iterable[Tensor], device: torch.device) -> Tensor:
        """Of uint8 [*,C,H,W], one channel or three, resized by Pillow's bicubic filter to the network's size."""
        from replication.metrics.extractors.vision_transformers import CLIP_MEAN, CLIP_STD, OfOneSize  # torchvision

        clip = self._loaded()[1]
        half = OfOneSize(ImageHalf(clip), clip.config.vision_config.image_size, CLIP_MEAN, CLIP_STD).to(device)
        return _embedded(clip, lambda images: half(images.expand(-1, 3, -1, -1))[0], chunks, device)

    def _loaded(self) -> tuple[Any, Any]:
        weights = self.files.folder / "model.safetensors"
        if (found := known_sha256(weights)) != SHA256:
            raise KIND.error(f"{weights} has SHA-256 {found}, expected {SHA256}")
        return loaded(KIND, self.files)


def clip_pair() -> ClipPair | None:
    """The pair whose files are on this machine, else None; InputError where $REPLICATION_CLIP_PAIR is no such folder."""
    given = os.environ.get(VARIABLE)
    try:
        return ClipPair(located(given or KIND.example, KIND))
    except InputError:
        if given is None:
            return None
        raise


def _embedded(clip: Any, embed: Callable[[Tensor], Tensor], chunks: Iterable[Tensor], device: torch.device) -> Tensor:
    """embed() of every batch of the chunks; the network lies in the CPU's memory before and after."""
    clip.to(device)
    try:
        with torch.no_grad(), numerics("float32", device):
            return torch.cat([embed(rows.to(device)).cpu() for chunk in chunks for rows in chunk.split(BATCH)])
    finally:
        clip.to("cpu")
