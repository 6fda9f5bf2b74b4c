"""A network that the diffusers library saved, as the network of a row: its code, its configuration and its weights.

The weights are in the network from the start, so a training of one step with warm-up, whose rate is 0, leaves them as
they are: `training = { steps = 1, warmup = 1 }`; more steps fine-tune them. diffusers is an optional dependency.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from replication.files import expanded, file_sha256
from replication.layers.weight_files import NAME, not_finite, read_weights, weight_files
from replication.registry import MODELS, unknown
from replication.types import InputError

CONFIG = "config.json"
CLASSES = ("UNet2DModel", "UNet2DConditionModel", "DiTTransformer2DModel")


@MODELS.register("diffusers")
class DiffusersFolder(nn.Module):
    """A network in a folder of diffusers: UNet2DModel, UNet2DConditionModel or DiTTransformer2DModel, weights included.

    path: the folder of config.json and the weights, in one file or in shards; a key holds their SHA-256 in its place.
    null_label: whether the last class embedding of a UNet2DModel stands for no label; a DiT has one more for that.
    cond: a label Int[B] (UNet2DModel with class embeddings, DiT), a context Float[B,L,D] (UNet2DConditionModel), or None.
    Raises InputError for another class, for files that are missing or don't fit each other, and without diffusers.
    """

    version = 1

    def __init__(self, path: str, null_label: bool = False):
        super().__init__()
        self.folder = folder = expanded(path, "path")
        config = _config(folder)
        self.kind = config.get("_class_name")
        if self.kind not in CLASSES:
            raise unknown(f"class of diffusers in {folder / CONFIG}", self.kind, list(CLASSES))
        try:
            import diffusers
        except ImportError as error:
            raise InputError(f"network 'diffusers' needs the library: pip install diffusers ({error})") from error
        self.model = getattr(diffusers, self.kind).from_config(config)
        settled = self.model.config
        if isinstance(settled.sample_size, int):
            self.resolution = settled.sample_size
        self.in_channels = settled.in_channels
        self.context = settled.cross_attention_dim if self.kind == "UNet2DConditionModel" else 0
        labels = settled.get("num_class_embeds")
        self.classes = labels - null_label if labels else settled.get("num_embeds_ada_norm") or 0
        if next(self.model.parameters()).is_meta:  # built to look at its shapes
            return
        weights = read_weights(weight_files(folder))
        if spoilt := not_finite(weights):
            raise InputError(f"{folder}: {spoilt}")
        try:
            self.model.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(f"{folder}: not the weights of its {CONFIG}: {error}") from error

    @staticmethod
    def identified(options: dict[str, Any]) -> dict[str, Any]:
        """What a key holds of the options: the content of the files in the place of the path."""
        folder = expanded(options["path"], "path")
        weights = weight_files(folder).sha256(_known)
        return {**options, "path": {CONFIG: _known(_file(folder, CONFIG)), NAME: weights}}

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        name = "encoder_hidden_states" if self.kind == "UNet2DConditionModel" else "class_labels"
        output: Tensor = self.model(x, timestep, **{name: cond}).sample
        return output


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


def _known(file: Path) -> str:
    return _sha256(file, file.stat().st_size, file.stat().st_mtime_ns)


@cache
def _sha256(file: Path, size: int, modified: int) -> str:
    """Of a file, read again only when it has changed."""
    return file_sha256(file)
