"""What latent diffusion's code states beside its weights: config.yaml, in the words of diffusers where it has them.

Schedule and meaning of the output; of the U-Net how attention is split into heads, which no tensor shows.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from replication.types import InputError

BETAS = {"linear": "scaled_linear", "sqrt_linear": "linear", "cosine": "squaredcos_cap_v2"}  # theirs, and diffusers'
OUTPUTS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
UNET = "UNetModel"  # the end of its class's path


class OfficialConfig(NamedTuple):
    """scheduler: as a scheduler_config.json would have it. network: as a config.json, of class UNET; None without one."""

    file: Path
    scheduler: dict[str, Any]
    network: dict[str, Any] | None


def official_config(folder: Path) -> OfficialConfig | None:
    """The one in the folder, where one lies there that is of a diffusion model; raises InputError for no YAML."""
    for file in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        params = _table(_read(file), "model", "params")
        if unet := _table(params, "unet_config"):
            return OfficialConfig(file, _scheduler(params), _network(unet))
    return None


def _read(file: Path) -> Any:
    import yaml  # seldom needed

    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{file}: not readable as YAML ({reason})") from error


def _table(content: Any, *names: str) -> dict[str, Any]:
    """The table under these names; empty where there is none."""
    for name in names:
        content = content.get(name) if isinstance(content, Mapping) else None
    return dict(content) if isinstance(content, Mapping) else {}


def _scheduler(params: Mapping[str, Any]) -> dict[str, Any]:
    betas, output = params.get("beta_schedule", "linear"), params.get("parameterization", "eps")
    return {
        "_class_name": "DDPMScheduler",
        "beta_schedule": BETAS.get(str(betas), betas),
        "beta_start": params.get("linear_start", 1e-4),
        "beta_end": params.get("linear_end", 2e-2),
        "num_train_timesteps": params.get("timesteps", 1000),
        "prediction_type": OUTPUTS.get(str(output), output),
    }


def _network(unet: Mapping[str, Any]) -> dict[str, Any] | None:
    params = _table(unet, "params")
    if not str(unet.get("target", "")).endswith(UNET):
        return None
    # it counts before the other
    heads = "num_heads" if params.get("num_head_channels", -1) == -1 else "num_head_channels"
    return {"_class_name": UNET, heads: params.get(heads, -1)}
