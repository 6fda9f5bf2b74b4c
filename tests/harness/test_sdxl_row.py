"""SDXL's whole path in small: encoders and U-Net of a pipeline's folder, weights given, a guided row drawn and measured."""

import json
from pathlib import Path

import pytest
from conditions.test_sdxl_text import FIRST, POOLED, SECOND, pipeline  # noqa: F401  a fixture
from diffusers import StableDiffusionXLPipeline
from harness.tiny import write_tiny

from oracles.diffusers_peers import peer_text_unet
from replication.check.models import randomize
from replication.cli import main
from replication.layers.weight_files import weight_files
from replication.training.diffusers_options import SCHEDULER

NETWORK = {"width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (2,), "groups": 4}
SHAPE = {"resolution": 8, "channels": 1, "context": FIRST + SECOND, "pooled": POOLED, "numbers": 6}


def test_a_row_is_drawn_with_given_weights_and_a_pipelines_text(
    project: Path,
    pipeline: StableDiffusionXLPipeline,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Catches: a condition of one row more than the network takes, guidance whose null has another shape, weights under a
    key that changes once the encoders are there, and a scheduler's prediction that nobody compares."""
    peer = peer_text_unet(heads=(1, 2), depth=(1, 2), **NETWORK, **SHAPE).eval()
    randomize(peer, seed=1)
    peer.save_pretrained(project / "pipe" / "unet")
    (project / "pipe" / "scheduler").mkdir()
    scheduler = {
        "_class_name": "EulerDiscreteScheduler",
        "beta_schedule": "linear",
        "num_train_timesteps": 20,
        "beta_end": 0.3,
    }
    (project / "pipe" / "scheduler" / SCHEDULER).write_text(json.dumps(scheduler))
    monkeypatch.chdir(project)
    network = 'network = { name = "ldm-unet", width = 8, multipliers = [1, 2], blocks = 1, attention = [2], groups = 4, head_channels = 8, '
    network += f"context = {SHAPE['context']}, depth = [0, 2], pooled = {POOLED}, numbers = 6 }}"
    sampling = 'sampler = { name = "ddim", eta = 0.0 }\nspacing = "quadratic"'
    write_tiny(
        project,
        ('network = "ddpm-digits"', f'{network}\ncondition = {{ name = "sdxl-text", model = "text" }}'),
        ('nll = "fixed-large"\n', ""),
        ("n = 16", "n = 20"),
        (sampling, 'sampler = "dpmpp_2m"\nspacing = "karras"\nguidance = { weight = 5.0 }'),
    )
    add = ["weights", "add", "tiny", "--profile", "cpu", "--row", "DDIM", "--network", str(project / "pipe" / "unet")]
    (project / "text").symlink_to(pipeline.folder)
    assert main(add) == 0
    assert main(["run", "tiny", "--row", "DDIM"]) == 0
    files = (project / "runs").rglob("*.json")
    (row,) = (row for file in files if "checkpoint.given" in (row := json.loads(file.read_text())))
    assert row["checkpoint.given"] == weight_files(project / "pipe" / "unet").sha256()
    (project / "pipe" / "scheduler" / SCHEDULER).write_text(
        json.dumps({**scheduler, "prediction_type": "v_prediction"})
    )
    assert main([*add, "--set", "recipe.training.seed=3"]) == 2
    assert f'{SCHEDULER}: prediction_type = "v_prediction"' in capsys.readouterr().err


def test_weights_are_not_given_under_a_key_that_the_encoders_will_change(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches: SDXL given before its encoders are here, and not found once they are."""
    (project / "unet.safetensors").write_bytes(b"")
    row = ["field-guide", "--profile", "paper", "--row", "SDXL, DPM++ 2M Karras"]
    assert main(["plan", *row]) == 0
    capsys.readouterr()
    assert main(["weights", "add", *row, "--network", str(project / "unet.safetensors")]) == 2
    err = capsys.readouterr().err
    assert (
        "condition 'sdxl-text': model 'stabilityai/stable-diffusion-xl-base-1.0' is neither a folder nor in the cache"
        in err
    )
    assert "resolve/main/FILE into a folder for FILE = config.json" in err
