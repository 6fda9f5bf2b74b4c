"""Text as SDXL reads it: two CLIP encoders side by side, a pooled text, and sizes. Podell et al. 2023, section 2.

The context of a token is the last hidden state but one of CLIP ViT-L/14 and of OpenCLIP bigG/14, 768 and 1280 numbers
without a norm after them; the pooled text is bigG's projection of the end token. With it go six numbers in pixels: height
and width of the photograph before it was resized, top and left of its crop, height and width that are meant. The null text
is zeros, as the network was trained, and has the same sizes.
"""

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from replication.conditions.condition import LabelledDataset
from replication.conditions.encoder_files import EncoderFiles, FromFiles, located
from replication.conditions.pretrained_text import ClipText, loaded
from replication.files import expanded
from replication.layers.conditioning import joined
from replication.layers.weight_files import read_weights, weight_files
from replication.registry import CONDITIONS
from replication.types import InputError

MODEL = "stabilityai/stable-diffusion-xl-base-1.0"
LENGTH, WIDTH, POOLED = 77, 2048, 1280  # as published, for a plan where the encoders are not here
SIZES = [1024, 1024, 0, 0, 1024, 1024]
HEAD = 64  # channels of a head, in both encoders
_OPEN_CLIP = (  # OpenCLIP's words, and those of transformers
    (r"^(token|position)(?:al)?_embedding(\.weight)?$", r"text_model.embeddings.\1_embedding.weight"),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"\.ln_(\d)\.", r".layer_norm\1."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
)


class _Penultimate(ClipText):
    """One of the two; `place`: which embedder of an official file it is."""

    place, activation = "conditioner.embedders.0.transformer.", "quick_gelu"
    kind = replace(ClipText.kind, user="condition 'sdxl-text'", example=MODEL, otherwise="option model = that folder")

    def __init__(self, model: str, weights: Path | None):
        super().__init__(model)
        self.weights = weights

    @cached_property
    def files(self) -> EncoderFiles:
        return located(self.model, self.kind, self.weights)

    @property
    def _loaded(self) -> tuple[Any, Any]:
        return loaded(self.kind, self.files, None if self.weights is None else type(self).official)

    def _states(self, tokens: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.network(input_ids=tokens, output_hidden_states=True).hidden_states[-2]
        return states

    @classmethod
    def official(cls, files: EncoderFiles) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The configuration and state dict of this encoder in an official file, whose tensors show the sizes."""
        tensors = read_weights(weight_files(files.paths[0]))
        own = {name.removeprefix(cls.place): t for name, t in tensors.items() if name.startswith(cls.place)}
        if not own:
            raise cls.kind.error(f"{files.paths[0]} has no tensor {cls.place}*; an official SDXL file has")
        state = cls.converted(own)
        width = state["text_model.final_layer_norm.weight"].shape[0]
        layers = {match[1] for name in state if (match := re.match(r"text_model\.encoder\.layers\.(\d+)\.", name))}
        vocabulary = len(state["text_model.embeddings.token_embedding.weight"])
        config = {
            "vocab_size": vocabulary,
            "eos_token_id": vocabulary - 1,
            "max_position_embeddings": len(state["text_model.embeddings.position_embedding.weight"]),
            "hidden_size": width,
            "intermediate_size": state["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
            "num_hidden_layers": len(layers),
            "num_attention_heads": width // HEAD,
            "hidden_act": cls.activation,
            "projection_dim": state["text_projection.weight"].shape[0] if "text_projection.weight" in state else width,
        }
        return config, state

    @classmethod
    def converted(cls, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Under the names of transformers."""
        return {name: tensor for name, tensor in own.items() if not name.endswith("position_ids")}


class _Pooled(_Penultimate):
    """OpenCLIP bigG/14; the pooled text is joined to its states."""

    place, activation = "conditioner.embedders.1.model.", "gelu"
    kind = replace(_Penultimate.kind, network="CLIPTextModelWithProjection", suffix="_2")

    def _states(self, tokens: Tensor, mask: Tensor) -> Tensor:
        answer = self.network(input_ids=tokens, output_hidden_states=True)
        return joined(answer.hidden_states[-2], answer.text_embeds)

    @classmethod
    def converted(cls, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Likewise: queries, keys and values are one matrix there, and the projection is transposed."""
        state: dict[str, Tensor] = {}
        for name, tensor in own.items():
            for pattern, replacement in _OPEN_CLIP:
                name = re.sub(pattern, replacement, name)
            if packed := re.fullmatch(r"(.+)\.attn\.in_proj_(weight|bias)", name):
                parts = zip("qkv", tensor.chunk(3), strict=True)
                state |= {f"{packed[1]}.self_attn.{letter}_proj.{packed[2]}": part for letter, part in parts}
            elif name == "text_projection":
                state["text_projection.weight"] = tensor.T
            elif name not in ("logit_scale", "attn_mask"):
                state[name] = tensor
        return state


@CONDITIONS.register("sdxl-text")
class SdxlText(FromFiles):
    """Captions by SDXL's two text encoders, a pooled text and six sizes (Podell et al. 2023).

    cond: Float[B,1+77,2048], as `joined` makes it of the context and of 1280 + 6 numbers. model: a folder with the pipeline's
    text_encoder, tokenizer, text_encoder_2 and tokenizer_2, or its id on the Hub. weights: an official file, such as
    sd_xl_base_1.0.safetensors, whose encoders are taken in the place of the folder's, which then needs the two tokenizers
    alone. sizes: the six numbers, see the module. A plan needs no files; a caption is encoded when its image is drawn.
    """

    def __init__(self, model: str = MODEL, weights: str = "", sizes: list[int] = SIZES, dropout: float = 0.1):
        super().__init__(model, dropout)
        if len(sizes) != len(SIZES):
            raise InputError(f"condition 'sdxl-text': sizes = {sizes} are {len(sizes)} numbers, not {len(SIZES)}")
        file = expanded(weights, "weights") if weights else None
        if file is not None and not file.is_file():
            raise InputError(f"condition 'sdxl-text': weights = {weights!r}: there is no such file")
        self._pair = _Penultimate(model, file), _Pooled(model, file)
        self._pixels = torch.tensor(sizes, dtype=torch.float32)

    def encoders(self) -> tuple[EncoderFiles, ...]:
        return tuple(one.files for one in self._pair)

    def null(self, dataset: LabelledDataset) -> Tensor:
        length, width, pooled = LENGTH, WIDTH, POOLED
        if self.here:
            first, second = self._pair
            length, pooled = first.length, second.network.config.projection_dim
            width = first.network.config.hidden_size + second.network.config.hidden_size
        return joined(torch.zeros(1, length, width), torch.cat([torch.zeros(pooled), self._pixels])[None])[0]

    def encoded(self, texts: Sequence[str], dataset: LabelledDataset, device: torch.device) -> Tensor:
        first, second = (encoder.encoded(texts, dataset, device) for encoder in self._pair)
        pooled = second[:, 0, : self._pair[1].network.config.projection_dim]
        vector = torch.cat([pooled, self._pixels.to(pooled).expand(len(pooled), -1)], dim=1)
        return joined(torch.cat([first, second[:, 1:]], dim=2), vector)

    def _fixed_by(self) -> tuple[Hashable, ...]:
        return (*self.encoders(), tuple(self._pixels.tolist()))
