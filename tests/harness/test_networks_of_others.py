"""Networks of any class: those that diffusers saved, by their folder, and a class of one's own with its own weights."""

import json
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import DiTTransformer2DModel, UNet2DConditionModel, UNet2DModel
from harness.tiny import write_tiny
from safetensors.torch import load_file, save_file

from replication.check.models import check_model, inputs, randomize
from replication.cli import main
from replication.registry import MODELS
from replication.types import InputError

BLOCKS = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 8}
NETWORKS = {
    "unet": lambda: UNet2DModel(
        in_channels=1, out_channels=1, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=4, **BLOCKS,
    ),
    "labels": lambda: UNet2DModel(
        in_channels=1, out_channels=1, down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"), num_class_embeds=11, **BLOCKS,
    ),
    "context": lambda: UNet2DConditionModel(
        in_channels=4, out_channels=4, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=12, attention_head_dim=4, **BLOCKS,
    ),
    "dit": lambda: DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, sample_size=8,
        norm_num_groups=4, num_embeds_ada_norm=10,
    ),
}  # fmt: skip


def saved(kind: str, folder: Path) -> torch.nn.Module:
    network = NETWORKS[kind]().eval()
    randomize(network, seed=1)
    network.save_pretrained(folder)
    return network


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_folder_of_diffusers_is_a_network(kind: str, tmp_path: Path) -> None:
    """It passes the contract tests, and answers what diffusers' own object answers, exactly. Catches cond that does not
    arrive, weights that are not loaded, and a class whose answer is no tensor."""
    peer = saved(kind, tmp_path)
    options = {"path": str(tmp_path), "null_label": kind == "labels"}
    assert [f for f in check_model(partial(MODELS.build, "diffusers", **options)) if not f.ok] == []
    network = MODELS.build("diffusers", **options).eval()
    x, timestep, cond = inputs(network, "cpu")
    named = {} if cond is None else {"encoder_hidden_states" if kind == "context" else "class_labels": cond}
    with torch.no_grad():
        assert torch.equal(network(x, timestep, cond), peer(x, timestep, **named).sample)
    assert network.classes == (10 if kind in ("labels", "dit") else 0)


def test_its_identity_is_the_content_of_the_folder(tmp_path: Path) -> None:
    """Catches a path in a key, and weights that may change under one."""
    saved("unet", tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    identities = [MODELS.identity("diffusers", {"path": str(tmp_path / name)}) for name in ("here", "there")]
    assert identities[0] == identities[1]
    assert str(tmp_path) not in json.dumps(identities)
    weights = load_file(tmp_path / "there" / "diffusion_pytorch_model.safetensors")
    weights["conv_in.bias"] += 1
    save_file(weights, tmp_path / "there" / "diffusion_pytorch_model.safetensors")
    assert MODELS.identity("diffusers", {"path": str(tmp_path / "there")}) != identities[0]


def test_folders_that_hold_no_such_network_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"config.json: there is no such file"):
        MODELS.build("diffusers", path=str(tmp_path))
    saved("unet", tmp_path / "unet")
    saved("dit", tmp_path / "dit")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "diffusers", None)
        with pytest.raises(InputError, match="pip install diffusers"):
            MODELS.build("diffusers", path=str(tmp_path / "unet"))
    weights = "diffusion_pytorch_model.safetensors"
    shutil.copy(tmp_path / "dit" / weights, tmp_path / "unet" / weights)
    with pytest.raises(InputError, match="not the weights of"):
        MODELS.build("diffusers", path=str(tmp_path / "unet"))
    (tmp_path / "unet" / "config.json").write_text('{"_class_name": "UNet3DConditionModel"}')
    with pytest.raises(InputError, match="UNet3DConditionModel'; did you mean 'UNet2DConditionModel'"):
        MODELS.build("diffusers", path=str(tmp_path / "unet"))


def test_a_folder_of_diffusers_is_the_network_of_a_row(project: Path) -> None:
    """Its row is measured with the folder's own weights, exactly: the one training step has rate 0."""
    peer = saved("unet", project / "unet")
    network = f'network = {{ name = "diffusers", path = "{project / "unet"}" }}'
    path = write_tiny(project, ('network = "ddpm-digits"', network), ("steps = 2\n", "steps = 1\n"))
    assert main(["run", str(path), "--row", "DDIM"]) == 0
    (checkpoint,) = (project / "runs" / "checkpoints").rglob("*.safetensors")
    held = load_file(checkpoint)
    for name, weights in peer.named_parameters():
        assert torch.equal(held[f"ema.model.{name}"], weights.detach()), name


OWN = """
from torch import nn


class Mine(nn.Module):
    def __init__(self, width: int = 4, keeps: bool = False):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)
        self.norm = nn.BatchNorm2d(width) if keeps else nn.Identity()

    def forward(self, x, timestep, cond=None):
        return self.last(self.norm(self.first(x)) + timestep[:, None, None, None] / 1000)
"""


@pytest.fixture
def own(project: Path) -> Iterator[Path]:
    """The experiment of a row whose network is `Mine`, a class of no package that is installed."""
    (project / "my_network.py").write_text(OWN)
    yield write_tiny(project, ('network = "ddpm-digits"', 'network = { name = "my_network:Mine", width = 6 }'))
    sys.modules.pop("my_network", None)


def test_a_class_of_ones_own_with_a_checkpoint_of_ones_own(
    own: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row of such a network is measured with the given weights. Catches names that must be a published spelling's."""
    network = MODELS.build("my_network:Mine", width=6)
    weights = {name: p.detach().clone() for name, p in network.named_parameters()}
    save_file(weights, project / "mine.safetensors")
    add = ["weights", "add", str(own), "--profile", "cpu", "--row", "DDIM", "--network"]
    assert main([*add, str(project / "mine.safetensors")]) == 0
    assert main(["run", str(own), "--row", "DDIM"]) == 0
    (checkpoint,) = (project / "runs" / "checkpoints").rglob("*.safetensors")
    assert torch.equal(load_file(checkpoint)["ema.first.weight"], weights["first.weight"])
    save_file({**weights, "first.weight": torch.zeros(3, 1, 3, 3)}, project / "other.safetensors")
    assert main([*add, str(project / "other.safetensors"), "--set", "recipe.training.seed=3"]) == 2
    assert "'first.weight' has shape (3, 1, 3, 3), not (6, 1, 3, 3)" in capsys.readouterr().err


def test_running_statistics_are_refused_for_no_checkpoint_keeps_them(
    own: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches a BatchNorm that is sampled from with the statistics of a new network."""
    own.write_text(own.read_text().replace("width = 6", "keeps = true"))
    save_file(MODELS.build("my_network:Mine", keeps=True).state_dict(), project / "mine.safetensors")
    add = [
        "weights",
        "add",
        str(own),
        "--profile",
        "cpu",
        "--row",
        "DDIM",
        "--network",
        str(project / "mine.safetensors"),
    ]
    assert main(add) == 2
    assert "norm.running_mean" in capsys.readouterr().err
