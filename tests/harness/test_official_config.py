"""LDM's config.yaml beside its weights: what it says of schedule, output and heads is compared with the row."""

from pathlib import Path

import pytest
from harness.tiny import write_tiny
from ldm.test_published_weights import official, with_one_convolution_for_qkv
from safetensors.torch import save_file

from replication.check.models import randomize
from replication.cli import main
from replication.registry import MODELS

NETWORK = {"width": 8, "multipliers": [1, 2], "blocks": 2, "attention": [2], "heads": 2, "groups": 4}
TOML = 'network = { name = "ldm-unet", width = 8, multipliers = [1, 2], blocks = 2, attention = [2], heads = 2, groups = 4 }'
YAML = """
model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    timesteps: 20
    linear_start: 0.0001
    linear_end: 0.3
    beta_schedule: sqrt_linear
    parameterization: eps
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        num_heads: 2
        model_channels: 8
"""


@pytest.fixture
def weights(project: Path) -> Path:
    """An official file of the row's U-Net."""
    write_tiny(project, ('network = "ddpm-digits"', TOML))
    network = MODELS.build("ldm-unet", resolution=8, channels=1, **NETWORK)
    randomize(network, 1)
    (project / "w").mkdir()
    packed = with_one_convolution_for_qkv(official(network), heads=2)
    save_file({name: tensor.contiguous() for name, tensor in packed.items()}, project / "w" / "model.safetensors")
    return project / "w"


def add(folder: Path, *more: str) -> int:
    return main(["weights", "add", "tiny", "--profile", "cpu", "--row", "DDIM", "--network", str(folder), *more])


def test_what_the_row_says_too_is_taken(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another YAML beside it is not looked at. Catches: a comparison that refuses its own, and words that say it was not made."""
    (weights / "config.yaml").write_text(YAML)
    (weights / "a-solver.yaml").write_text("steps: 20")
    assert add(weights) == 0
    assert "speaks of them" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("linear_end: 0.3", "linear_end: 0.02", 'config.yaml: num_train_timesteps = 20, beta_start = 0.0001, beta_end = 0.02, beta_schedule = "linear", the recipe'),
        ("beta_schedule: sqrt_linear", "", 'beta_end = 0.3, beta_schedule = "scaled_linear", the recipe'),
        ("parameterization: eps", "parameterization: x0", 'prediction_type = "sample", the recipe\'s parameterization is \'eps\''),
        ("num_heads: 2", "num_heads: 4", "config.yaml: num_heads = 4, the recipe has 2"),
        ("num_heads: 2", "num_head_channels: 4\n        num_heads: 2", "config.yaml: num_head_channels = 4, the recipe has 8"),
        ("timesteps: 20", "timesteps: [", "config.yaml: not readable as YAML"),
    ],
)  # fmt: skip
def test_another_meaning_refuses_the_weights(
    old: str, new: str, message: str, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches: weights of other heads or another schedule, whose shapes are the row's and whose samples are noise."""
    (weights / "config.yaml").write_text(YAML.replace(old, new))
    assert add(weights) == 2
    assert message in capsys.readouterr().err
