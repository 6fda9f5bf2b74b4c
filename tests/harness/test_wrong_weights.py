"""Wrong files of the families that published weights are known for: each refusal names the file, the key and what would fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from replication.dit.published_weights import options as dit_options
from replication.harness.given_weights import _elsewhere, under_its_names
from replication.layers.weight_files import weight_files
from replication.layers.weights import unet_options
from replication.registry import MODELS, OBJECTIVES, SCHEDULES
from replication.settings import Part
from replication.training.diffusers_options import CONFIG, SCHEDULER, Meaning, check_options
from replication.types import InputError

NETWORK = Part(
    name="ldm-unet",
    options={
        "resolution": 8, "channels": 4, "width": 8, "multipliers": [1], "blocks": 1, "attention": [1], "heads": 2, "groups": 4,
        "context": 32, "pooled": 4, "numbers": 6,
    },
)  # fmt: skip
OFFICIAL, Weights = "model.diffusion_model.", dict[str, Tensor]


def official() -> Weights:
    """NETWORK's tensors as SDXL's file has them."""
    peer = UNet2DConditionModel(
        in_channels=4, out_channels=4, block_out_channels=(8,), layers_per_block=1, norm_num_groups=4, cross_attention_dim=32,
        down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",), attention_head_dim=2,
        use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=4 + 6 * 256,
    )  # fmt: skip
    return {name: tensor.detach().clone() for name, tensor in peer.state_dict().items()}


def without(name: str) -> Callable[[Weights], Weights]:
    return lambda weights: {n: t for n, t in weights.items() if n != name}


def with_tensor(name: str, tensor: Tensor) -> Callable[[Weights], Weights]:
    return lambda weights: {**weights, name: tensor}


WRONG: list[tuple[Callable[[Weights], Weights], str]] = [
    (without("add_embedding.linear_1.weight"), r"nothing there for 'added.first.weight' of our network, of shape \(32, 1540\), beside 'add_embedding.linear_1.bias'"),
    (without("down_blocks.0.attentions.0.proj_in.weight"), "nothing there for 'down.0.attentions.0.proj_in.weight'"),
    (with_tensor("add_embedding.linear_3.weight", torch.zeros(2)), "'add_embedding.linear_3.weight' has no place in our network"),
    (with_tensor("conv_in.weight", torch.zeros(8, 9, 3, 3)), r"'conv_in.weight' has shape \(8, 9, 3, 3\), not \(8, 4, 3, 3\)"),
    (with_tensor("add_embedding.linear_1.weight", torch.zeros(32, 2816)), r"'add_embedding.linear_1.weight' has shape \(32, 2816\), not \(32, 1540\)"),
    (with_tensor("conv_in.bias", torch.full((8,), torch.nan)), "tensor 'conv_in.bias' has 8 of 8 values that are not finite"),
    (with_tensor("conv_in.bias", torch.zeros(8, dtype=torch.int8)), "the weights of 'conv_in.bias' are int8"),
    (lambda _: {"conditioner.embedders.0.x": torch.zeros(2)}, r"no published spelling of model ldm-unet.* it holds conditioner.embedders.0.x"),
    (lambda _: {f"{OFFICIAL}out.0.bias": torch.zeros(2)}, r"nothing there for 'embed.0.weight' of our network"),
    (lambda _: {"x_embedder.proj.weight": torch.zeros(2)}, r"no published spelling of model ldm-unet.*model.diffusion_model.\*.*x_embedder"),
]  # fmt: skip


@pytest.mark.parametrize("i", range(len(WRONG)))
def test_a_file_of_other_tensors_is_refused_by_file_and_key(tmp_path: Path, i: int) -> None:
    """Catches: a message that does not say which of several files it is, or which tensor."""
    change, message = WRONG[i]
    path = tmp_path / "given.safetensors"
    save_file(change(official()), path)
    with pytest.raises(InputError, match=rf"^{path}: .*{message}"):
        under_its_names(MODELS, NETWORK, NETWORK.build(MODELS), weight_files(path))
    save_file(official(), path)
    assert under_its_names(MODELS, NETWORK, NETWORK.build(MODELS), weight_files(path)).weights


def test_weights_of_another_published_network_are_recognised() -> None:
    """Catches: a message that leaves one to guess which row the file is for."""
    with torch.device("meta"):
        weights = UNet2DConditionModel(
            in_channels=4, out_channels=4, block_out_channels=(320, 640, 1280), cross_attention_dim=2048,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), attention_head_dim=(5, 10, 20),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), transformer_layers_per_block=(1, 2, 10),
            use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ).state_dict()  # fmt: skip
    assert _elsewhere(MODELS, Part(name="sd-v1"), weights) == "these are weights of model sdxl"
    assert sum(t.numel() for t in weights.values()) == 2_567_463_684
    weights.pop("conv_in.bias")
    assert _elsewhere(MODELS, Part(name="sd-v1"), weights).startswith("they fit no model of those")
    assert (
        _elsewhere(MODELS, Part(name="sd-v1"), {"a": torch.zeros(2)})
        == "they are of no published network, for none is as small"
    )


LDM = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195, "num_train_timesteps": 1000}
SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}
LINEAR = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02, "num_train_timesteps": 1000}
SCALED = {"name": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195}
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any], str, dict[str, Any]]] = {
    # network, its config.json and scheduler_config.json as far as they are published, parameterization and schedule of a row
    "DDPM": ("ddpm-cifar10", {"_class_name": "UNet2DModel", "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6, "downsample_padding": 0, "attention_head_dim": None},
             {"_class_name": "DDPMScheduler", **LINEAR}, "eps", {"name": "linear"}),
    "LDM": ("ldm-celebahq-4", {"_class_name": "UNet2DModel", "attention_head_dim": 32, "norm_num_groups": 32},
            {"_class_name": "DDIMScheduler", **LDM}, "eps", SCALED),
    "SD 1.5": ("sd-v1", {"_class_name": "UNet2DConditionModel", "attention_head_dim": 8}, {"_class_name": "PNDMScheduler", **SD}, "eps", {"name": "scaled_linear"}),
    "SD 2.1-v": ("sd-v2", {"_class_name": "UNet2DConditionModel", "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
                 {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction", **SD}, "v", {"name": "scaled_linear"}),
    "SDXL": ("sdxl", {"_class_name": "UNet2DConditionModel", "attention_head_dim": [5, 10, 20], "addition_embed_type": "text_time", "addition_time_embed_dim": 256},
             {"_class_name": "EulerDiscreteScheduler", "prediction_type": "epsilon", **SD}, "eps", {"name": "scaled_linear"}),
    "DiT": ("dit-xl/2", {"_class_name": "Transformer2DModel", "activation_fn": "gelu-approximate", "norm_elementwise_affine": False, "norm_type": "ada_norm_zero", "num_attention_heads": 16, "sample_size": 32},
            {"_class_name": "DDIMScheduler", **LINEAR}, "eps", {"name": "linear"}),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_configurations_of_another_meaning_are_refused_for_every_family(tmp_path: Path, family: str) -> None:
    """Its own are taken; another class, prediction and schedule, and another function, each by file, key and the row's value.

    Catches: a family whose files are not compared, and the scheduler of a folder with one file for all parts passed over.
    """
    name, config, scheduler, parameterization, schedule = FAMILIES[family]
    with torch.device("meta"):
        network = MODELS.build(name)
    options = dit_options(network) if family == "DiT" else unet_options(network)
    meaning = Meaning(parameterization, SCHEDULES.build(**schedule), str(schedule), OBJECTIVES.build("simple"))
    other = "v_prediction" if parameterization == "eps" else "epsilon"
    function = {"num_attention_heads": 8} if family == "DiT" else {"attention_head_dim": 4}
    (tmp_path / "scheduler").mkdir()
    for file, content, changes in (
        (CONFIG, config, [{"_class_name": "PixArtTransformer2DModel"}, function, {"act_fn": "gelu"} if family != "DiT" else {"norm_type": "ada_norm"}]),
        (f"scheduler/{SCHEDULER}", scheduler, [{"prediction_type": other}, {"prediction_type": "sample"}, {"beta_end": 0.5}, {"beta_schedule": "squaredcos_cap_v2"}, {"num_train_timesteps": 500}, {"rescale_betas_zero_snr": True}]),
    ):  # fmt: skip
        for change in changes:
            (tmp_path / CONFIG).write_text(json.dumps(config))
            (tmp_path / "scheduler" / SCHEDULER).write_text(json.dumps(scheduler))
            assert check_options(tmp_path, options, meaning) == []
            (tmp_path / file).write_text(json.dumps({**content, **change}))
            ((key, value),) = change.items()
            with pytest.raises(
                InputError, match=rf"^{tmp_path}: .*{file.split('/')[-1]}: .*{key} = {json.dumps(value)}.*the recipe"
            ):
                check_options(tmp_path, options, meaning)
