"""SDXL's whole path in small: a pipeline's folder on a Hub, whose parts one line plans, fetches, gives, draws and measures with."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from captioned import add_captioned
from conditions.test_sdxl_text import FIRST, LENGTH, POOLED, SECOND, pipeline  # noqa: F401  a fixture
from diffusers import StableDiffusionXLPipeline
from harness.hub_server import PROTOCOL, PUBLISHED_TRAINING, Hub, serving

from oracles.diffusers_peers import peer_autoencoder, peer_text_unet
from replication.check.models import randomize
from replication.cli import main
from replication.conditions import sdxl_text
from replication.layers.weight_files import weight_files
from replication.layers.weights import HUB, Published
from replication.ldm import published_weights
from replication.ldm.autoencoder_networks import Levels
from replication.ldm.unet import ldm_unet
from replication.registry import MODELS
from replication.training.diffusers_options import SCHEDULER

NAME, MODEL = "sdxl-rehearsal", "org/sdxl"
NETWORK = {"width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (2,), "groups": 4}
SHAPE = {"resolution": 16, "channels": 4, "context": FIRST + SECOND, "pooled": POOLED, "numbers": 6}
STAGE = {"width": 4, "multipliers": (1, 1), "blocks": 1, "groups": 2}
TOML = f"""
title = "rehearsal"
papers = ["arXiv:2307.01952"]
[profiles.paper]
batch_size = 5
[profiles.paper.first_stages.kl-f2]
autoencoder = {{ name = "kl-f2", width = 4, multipliers = [1, 1], blocks = 1, groups = 2, latent_channels = 4, scaling = "sdxl" }}
loss = {{ regularizer_weight = 1e-6, perceptual = "none" }}
training = {{ steps = 7, batch_size = 4, learning_rate = 1e-4, warmup = 0, grad_clip = 0, ema_decay = 0.9, flip = false }}
[profiles.paper.recipe]
dataset = {{ name = "own-images", resolution = 32, captioned = true }}
condition = {{ name = "sdxl-text", model = "{MODEL}" }}
first_stage = "kl-f2"
network = "{NAME}"
schedule = "scaled_linear"
parameterization = "eps"
objective = "simple"
{PUBLISHED_TRAINING}
{PROTOCOL}labels = "uniform"
[[profiles.paper.rows]]
label = "DPM++ 2M Karras"
sampler = "dpmpp_2m"
spacing = "karras"
steps = [2]
clip = "none"
guidance = {{ weight = 5.0 }}
"""
ROW = ["rehearsal", "--profile", "paper", "--row", "DPM++ 2M Karras"]


def sdxl_rehearsal(dropout: float = 0.0) -> object:
    """SDXL with two levels (Podell et al. 2023)."""
    options = {**NETWORK, **SHAPE, "multipliers": [1, 2], "attention": [2], "depth": [0, 2]}
    return ldm_unet(head_channels=8, dropout=dropout, **options)


@pytest.fixture
def hub(
    project: Path,
    isolated: Path,
    pipeline: StableDiffusionXLPipeline,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Hub]:
    """A project with one row, photographs with captions, and a Hub with the row's pipeline."""
    add_captioned(project / "photographs", "a photo of a ship")
    (project / "experiments" / "rehearsal.toml").write_text(TOML)
    monkeypatch.setattr(sdxl_rehearsal, "__module__", ldm_unet.__module__)
    MODELS.register(NAME)(sdxl_rehearsal)
    folder = project / "pipe"
    unet = peer_text_unet(heads=(1, 2), depth=(1, 2), **NETWORK, **SHAPE).eval()
    stage = peer_autoencoder(Levels(**STAGE, attention=()), 3, 4)
    stage.register_to_config(scaling_factor=0.13025)
    for seed, (name, part) in enumerate({"unet": unet, "vae": stage}.items()):
        randomize(part, seed)
        part.save_pretrained(folder / name)
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    (folder / "scheduler").mkdir()
    scheduler = {"_class_name": "EulerDiscreteScheduler", "num_train_timesteps": 1000, **betas}
    (folder / "scheduler" / SCHEDULER).write_text(json.dumps(scheduler))
    folders = {"text": Path(pipeline.folder), "": folder}
    files = {
        f"{MODEL}/{path.relative_to(root)}": path.read_bytes()
        for root in folders.values()
        for path in root.rglob("*")
        if path.is_file()
    }
    files[f"{MODEL}/text_encoder/model.fp16.safetensors"] = b"not this one" * 1000
    (project / "real").mkdir()
    coarse = np.random.default_rng(3).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    packed = io.BytesIO()
    np.savez(packed, coarse)
    (project / "real.npz").write_bytes(packed.getvalue())
    of = {"dataset": "own-images", "resolution": 32, "schedule": "scaled_linear", "steps": 9}
    entries = (
        Published("toy-unet", NAME, "toys", "diffusers", HUB + MODEL, "CC0-1.0", **of, folder="unet"),
        Published(
            "toy-vae", "kl-f2", "toys", "diffusers", HUB + MODEL, "CC0-1.0", stages=("rehearsal:kl-f2",), folder="vae"
        ),
    )
    monkeypatch.setattr(published_weights, "WEIGHTS", entries)
    for name, size in {
        "LENGTH": LENGTH,
        "WIDTH": FIRST + SECOND,
        "POOLED": POOLED,
    }.items():  # the published ones, in small
        monkeypatch.setattr(sdxl_text, name, size)
    with serving(files, MODEL) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HOME", str(project / "hf"))
        yield running
    del MODELS._factories[NAME], MODELS._canonical[NAME]


def test_in_one_line(hub: Hub, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Planned, cut in the middle, gone on with, measured again to the same figure; then nothing more is fetched.

    Catches: encoders that have to be there already, a key that changes once they are, a condition of one row more than the
    network takes, guidance whose null has another shape, a variant fetched beside the weights.
    """
    assert main(["reference", "make", "real-images", "real.npz", "--set", "protocol.extractor=cifar10-resnet"]) == 0
    capsys.readouterr()
    assert main(["plan", *ROW, "--weights", "auto", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)["weights"]
    assert {(one["for"], one["weights"], one["state"]) for one in planned} == {
        ("sdxl-text", MODEL, "to download"),
        ("first stage kl-f2", "toy-vae", "to download"),
        ("DPM++ 2M Karras", "toy-unet", "to download"),
    }

    line = ["run", *ROW, "--weights", "auto"]
    hub.cut_after = len(hub.files[f"{MODEL}/text_encoder_2/model.safetensors"]) // 2 + 100
    assert main(line) == 2
    assert "the same command goes on from there" in capsys.readouterr().err
    hub.cut_after = None
    assert main(line) == 0
    out = capsys.readouterr().out
    assert f"sdxl-text: {MODEL}, {HUB}{MODEL}; licence: see there" in out
    assert not any("fp16" in path for path, _, _ in hub.requests)
    asked = len(hub.requests)
    (row,) = [
        row for file in (project / "home").rglob("*.json") if "metric.fd" in (row := json.loads(file.read_text()))
    ]
    assert row["checkpoint.given"] == weight_files(project / "pipe" / "unet").sha256()
    assert row["checkpoint.first_stage_given"] == weight_files(project / "pipe" / "vae").sha256()
    assert main(line) == 0
    assert main(["plan", *ROW, "--weights", "auto", "--json"]) == 0
    assert "to download" not in capsys.readouterr().out
    assert len(hub.requests) == asked

    cell = f"rehearsal:{ROW[-1]}:2"
    assert main(["measure", cell, "--profile", "paper", "--reference", "real-images", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metric.fd"] == pytest.approx(row["metric.fd"], rel=1e-9)


def test_another_prediction_type_refuses_the_weights(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches: a scheduler beside the parts of a pipeline that nobody compares with the row."""
    path = f"{MODEL}/scheduler/{SCHEDULER}"
    hub.files[path] = json.dumps({**json.loads(hub.files[path]), "prediction_type": "v_prediction"}).encode()
    assert main(["reference", "make", "real-images", "real.npz", "--set", "protocol.extractor=cifar10-resnet"]) == 0
    assert main(["run", *ROW, "--weights", "auto"]) == 2
    assert f'{SCHEDULER}: prediction_type = "v_prediction"' in capsys.readouterr().err


def test_weights_are_not_given_under_a_key_that_the_encoders_will_change(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches: SDXL given before its encoders are here, and not found once they are."""
    (project / "unet.safetensors").write_bytes(b"")
    row = ["sdxl", "--profile", "paper", "--row", "SDXL, DPM++ 2M Karras"]
    assert main(["plan", *row]) == 0
    capsys.readouterr()
    assert main(["weights", "add", *row, "--network", str(project / "unet.safetensors")]) == 2
    err = capsys.readouterr().err
    assert (
        "condition 'sdxl-text': model 'stabilityai/stable-diffusion-xl-base-1.0' is no folder, was not fetched" in err
    )
    assert "resolve/main/FILE into a folder for FILE = config.json" in err
