"""A network that the diffusers library saved, as the network of a row: its code, its configuration and its weights.

The weights are in the network from the start, so a training of one step with warm-up, whose rate is 0, leaves them as
they are: `training = { steps = 1, warmup = 1 }`; more steps fine-tune them. diffusers is an optional dependency.
"""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.files import expanded, known_sha256
from replication.layers.as_diffusers import imported
from replication.layers.building import without_parameters
from replication.layers.conditioning import parted
from replication.layers.weight_files import NAME, in_single, weight_files
from replication.registry import MODELS, unknown
from replication.types import InputError

CONFIG = "config.json"
FLUX = "FluxTransformer2DModel"
CONTEXTS = {
    "UNet2DConditionModel": "cross_attention_dim",
    "SD3Transformer2DModel": "joint_attention_dim",
    FLUX: "joint_attention_dim",
}
CLASSES = ("UNet2DModel", "DiTTransformer2DModel", *CONTEXTS)


@MODELS.register("diffusers")
class DiffusersFolder(nn.Module):
    """A network in a folder of diffusers, weights included: a U-Net, DiT, Stable Diffusion 3 or FLUX.

    path: the folder of config.json and the weights, in one file or in shards; a key holds their SHA-256 in its place.
    null_label: whether the last class embedding of a UNet2DModel stands for no label; a DiT has one more for that.
    guidance: the weight that a FLUX reads which was distilled from guided ones (FLUX.1-dev); others are not told any.
    cond: a label Int[B] (UNet2DModel with class embeddings, DiT), a context Float[B,L,D] (UNet2DConditionModel), one with
    the pooled text joined to it (SD3, FLUX: condition "pipeline-text"), or None. SD3 and FLUX give the velocity on schedule
    "flow". Raises InputError for another class, for files that are missing or don't fit each other, and without diffusers.
    """

    version = 1

    def __init__(self, path: str, null_label: bool = False, guidance: float = 3.5):
        super().__init__()
        self.folder = folder = expanded(path, "path")
        config = _config(folder)
        self.kind = config.get("_class_name")
        if self.kind not in CLASSES:
            raise unknown(f"class of diffusers in {folder / CONFIG}", self.kind, list(CLASSES))
        kind = getattr(imported("network 'diffusers'"), self.kind)
        looked_at = nn.Linear(1, 1).weight.is_meta  # built for its shapes, or to be given weights
        with without_parameters():
            self.model = kind.from_config(config)
        settled = self.model.config
        if isinstance(settled.get("sample_size"), int):
            self.resolution = settled.sample_size
        self.in_channels = settled.in_channels // (4 if self.kind == FLUX else 1)  # of 2x2 pixels each
        self.context, self.guidance = settled.get(CONTEXTS.get(self.kind, ""), 0), guidance
        labels = settled.get("num_class_embeds")
        self.classes = labels - null_label if labels else settled.get("num_embeds_ada_norm") or 0
        _freeze_buffers(self.model)
        if looked_at:
            return
        weights = in_single(weight_files(folder))
        try:
            self.model.load_state_dict(weights, assign=True)
        except RuntimeError as error:
            raise InputError(f"{folder}: not the weights of its {CONFIG}: {error}") from error

    @staticmethod
    def identified(options: dict[str, Any]) -> dict[str, Any]:
        """What a key holds of the options: the content of the files in the place of the path."""
        folder = expanded(options["path"], "path")
        weights = weight_files(folder).sha256(known_sha256)
        told = {name: value for name, value in options.items() if (name, value) != ("guidance", 3.5)}  # it came later
        return {**told, "path": {CONFIG: known_sha256(_file(folder, CONFIG)), NAME: weights}}

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        if self.kind in ("SD3Transformer2DModel", FLUX):
            if cond is None:
                raise InputError(f"{self.folder}: a {self.kind} needs a context and a pooled text for every image")
            context, row = parted(cond)
            told = {
                "encoder_hidden_states": context,
                "pooled_projections": row[:, : self.model.config.pooled_projection_dim],
            }
            return (
                self._of_flux(x, timestep, told)
                if self.kind == FLUX
                else self.model(x, timestep=timestep, **told).sample
            )
        name = "encoder_hidden_states" if self.kind == "UNet2DConditionModel" else "class_labels"
        output: Tensor = self.model(x, timestep, **{name: cond}).sample
        return output

    def _of_flux(self, x: Tensor, timestep: Tensor, told: dict[str, Tensor]) -> Tensor:
        """FLUX sees squares of 2x2 pixels as a sequence, knows their places, and has times from 0 to 1."""
        height, width = x.shape[2] // 2, x.shape[3] // 2
        places = x.new_zeros(height, width, 3)
        places[..., 1] += torch.arange(height, device=x.device)[:, None]
        places[..., 2] += torch.arange(width, device=x.device)
        output: Tensor = self.model(
            F.pixel_unshuffle(x, 2).flatten(2).transpose(1, 2),
            timestep=timestep / 1000,
            guidance=x.new_full((len(x),), self.guidance) if self.model.config.guidance_embeds else None,
            img_ids=places.flatten(0, 1),
            txt_ids=x.new_zeros(told["encoder_hidden_states"].shape[1], 3),
            **told,
        ).sample
        return F.pixel_shuffle(output.transpose(1, 2).unflatten(2, (height, width)), 2)


def _freeze_buffers(model: nn.Module) -> None:
    """What a class keeps in its file besides parameters, SD3's positions, as parameters that are not trained."""
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if name not in module._non_persistent_buffers_set:
                delattr(module, name)
                module.register_parameter(name, nn.Parameter(buffer, requires_grad=False))


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads(_file(folder, CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{folder / CONFIG}: not JSON: {error}") from error
    return config if isinstance(config, dict) else {}


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise InputError(f"{folder / name}: there is no such file; `save_pretrained` of diffusers writes it")
    return folder / name
