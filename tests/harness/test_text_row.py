"""LDM's text-to-image path in small: a pipeline's folder on a Hub, whose parts one line plans, fetches, gives, draws and measures with."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from captioned import add_captioned
from conditions.test_bert_tokens import write_tokenizer
from diffusers import DDIMScheduler, LDMTextToImagePipeline
from harness.hub_server import PROTOCOL, PUBLISHED_TRAINING, Hub, serving
from ldm.test_text_to_image import peers
from transformers import BertTokenizer

from oracles.diffusers_peers import peer_autoencoder
from replication.check.models import randomize
from replication.cli import main
from replication.layers.weight_files import weight_files, with_folder
from replication.layers.weights import HUB, Published
from replication.ldm import published_weights
from replication.ldm.autoencoder_networks import Levels
from replication.ldm.unet import ldm_unet
from replication.registry import MODELS

NAME, MODEL, LENGTH = "text-rehearsal", "org/text", 12
BETAS = {"beta_start": 0.00085, "beta_end": 0.012}
TOML = f"""
title = "rehearsal"
papers = ["arXiv:2112.10752"]
[profiles.paper]
batch_size = 5
[profiles.paper.first_stages.kl-f2]
autoencoder = {{ name = "kl-f2", width = 4, multipliers = [1, 1], blocks = 1, groups = 2, latent_channels = 4, scaling = "sd-v1" }}
loss = {{ regularizer_weight = 1e-6, perceptual = "none" }}
training = {{ steps = 7, batch_size = 4, learning_rate = 1e-4, warmup = 0, grad_clip = 0, ema_decay = 0.9, flip = false }}
[profiles.paper.recipe]
dataset = {{ name = "own-images", resolution = 32, captioned = true }}
condition = {{ name = "bert-tokens", model = "{MODEL}", length = {LENGTH}, vocabulary = 30 }}
first_stage = "kl-f2"
network = "{NAME}"
schedule = {{ name = "scaled_linear", beta_start = 0.00085, beta_end = 0.012 }}
parameterization = "eps"
objective = "simple"
{PUBLISHED_TRAINING}
{PROTOCOL}labels = "uniform"
[[profiles.paper.rows]]
label = "DDIM"
sampler = {{ name = "ddim", eta = 0.0 }}
spacing = "ldm"
steps = [2]
clip = "none"
guidance = {{ weight = 1.5 }}
"""
ROW = ["rehearsal", "--profile", "paper", "--row", "DDIM"]
MOMENTS = ["reference", "make", "real-images", "real.npz", "--set", "protocol.extractor=cifar10-resnet"]


def text_rehearsal(dropout: float = 0.0) -> object:
    """LDM's text-to-image network with two levels (Rombach et al. 2022)."""
    text = {
        "vocabulary": 30,
        "length": LENGTH,
        "context": 12,
        "text_layers": 3,
        "text_heads": 2,
        "text_head_channels": 4,
    }
    return ldm_unet(16, 4, 8, [1, 2], 2, [1, 2], 2, groups=4, dropout=dropout, **text)


@pytest.fixture
def hub(project: Path, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A project with one row, and a Hub with its pipeline as CompVis/ldm-text2im-large-256 is laid out, in torch's files."""
    (project / "experiments" / "rehearsal.toml").write_text(TOML)
    monkeypatch.setattr(text_rehearsal, "__module__", ldm_unet.__module__)
    MODELS.register(NAME)(text_rehearsal)
    unet, text = peers(LENGTH)
    stage = peer_autoencoder(Levels(width=4, multipliers=(1, 1), blocks=1, groups=2, attention=()), 3, 4)
    stage.register_to_config(scaling_factor=0.18215)
    randomize(stage, 2)
    tokenizer = BertTokenizer.from_pretrained(str(write_tokenizer(project / "bert") / "tokenizer"))
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, **BETAS)
    LDMTextToImagePipeline(stage, text, tokenizer, unet, scheduler).save_pretrained(project / "pipe")
    torch.save(text.state_dict(), project / "pipe" / "bert" / "pytorch_model.bin")
    (project / "pipe" / "bert" / "model.safetensors").unlink()
    pipe = [path for path in (project / "pipe").rglob("*") if path.is_file()]
    files = {f"{MODEL}/{path.relative_to(project / 'pipe')}": path.read_bytes() for path in pipe}
    (project / "real").mkdir()
    coarse = np.random.default_rng(3).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    packed = io.BytesIO()
    np.savez(packed, coarse)
    (project / "real.npz").write_bytes(packed.getvalue())
    of = {"dataset": "own-images", "resolution": 32, "schedule": "scaled_linear", "steps": 9}
    entries = (
        Published("toy-unet", NAME, "toys", "diffusers", HUB + MODEL, "CC0-1.0", **of, folder="unet", also="bert"),
        Published("toy-vae", "kl-f2", "toys", "diffusers", HUB + MODEL, "CC0-1.0", stages=("rehearsal:kl-f2",), folder="vqvae"),
    )  # fmt: skip
    monkeypatch.setattr(published_weights, "WEIGHTS", entries)
    with serving(files, MODEL) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HOME", str(project / "hf"))
        yield running
    del MODELS._factories[NAME], MODELS._canonical[NAME]


def test_in_one_line(hub: Hub, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Planned, cut in the middle, gone on with, measured again to the same figure; of what the row does not
    read nothing is fetched.

    Catches: half of a network fetched or given, a tokenizer that has to be there for a plan, encoders fetched for tokens.
    """
    assert main(MOMENTS) == 0
    add_captioned(project / "coco", "a photo of a ship")
    capsys.readouterr()
    assert main(["plan", *ROW, "--weights", "auto", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)["weights"]
    assert [(one["for"], one["weights"], one["state"]) for one in planned] == [
        ("bert-tokens", MODEL, "to download"),
        ("first stage kl-f2", "toy-vae", "to download"),
        ("DDIM", "toy-unet", "to download"),
    ]
    line = ["run", *ROW, "--weights", "auto"]
    hub.cut_after = len(hub.files[f"{MODEL}/bert/pytorch_model.bin"]) // 2
    assert main(line) == 2
    assert "the same command goes on from there" in capsys.readouterr().err
    hub.cut_after = None
    assert main(line) == 0
    fetched = project / "data" / "weights"
    assert not (fetched / MODEL / "bert").exists()
    assert not (fetched / MODEL / "unet").exists()
    (row,) = [
        row for file in (project / "home").rglob("*.json") if "metric.fd" in (row := json.loads(file.read_text()))
    ]
    given = with_folder(weight_files(project / "pipe" / "unet"), "bert")
    assert len(given.files) == 2
    assert row["checkpoint.given"] == given.sha256()
    cell = f"rehearsal:{ROW[-1]}:2"
    capsys.readouterr()
    assert main(["measure", cell, "--profile", "paper", "--reference", "real-images", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metric.fd"] == pytest.approx(row["metric.fd"], rel=1e-9)


def test_captions_that_are_not_here_draw_nothing(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """Although the row measures against moments. Catches images of the caption that stands for all in a plan."""
    assert main(MOMENTS) == 0
    assert main(["run", *ROW, "--weights", "auto"]) == 2
    assert "`replicate data add own-images PATH --set resolution=32 --set captioned=true`" in capsys.readouterr().err


def test_another_transformer_refuses_the_weights(hub: Hub, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By file and key: another number of heads, another activation, another schedule. Catches: a folder beside the network's whose
    config.json nobody reads."""
    assert main(MOMENTS) == 0
    add_captioned(project / "coco", "a photo of a ship")
    write_tokenizer(project / "data" / "weights" / MODEL)
    (project / "data" / "weights" / MODEL / "fetched.json").write_text("{}")
    pipe = project / "pipe"
    add = ["weights", "add", *ROW, "--first-stage", str(pipe / "vqvae"), "--network", str(pipe / "unet")]
    for file, key, value in (
        ("bert/config.json", "encoder_attention_heads", 4),
        ("bert/config.json", "activation_function", "relu"),
        ("scheduler/scheduler_config.json", "beta_end", 0.02),
        ("unet/config.json", "attention_head_dim", 4),
    ):
        before = (pipe / file).read_text()
        (pipe / file).write_text(json.dumps({**json.loads(before), key: value}))
        assert main(["weights", "add", *ROW, "--network", str(pipe / "unet")]) == 2
        said = capsys.readouterr().err
        assert f"{key} = {json.dumps(value)}" in said
        assert file.rpartition("/")[2] in said
        (pipe / file).write_text(before)
    kept = torch.load(pipe / "bert" / "pytorch_model.bin")
    torch.save({n: t for n, t in kept.items() if n != "model.layers.1.fc1.bias"}, pipe / "bert" / "pytorch_model.bin")
    assert main(["weights", "add", *ROW, "--network", str(pipe / "unet")]) == 2
    missing = "nothing there for 'context_encoder.blocks.1.expand.bias' of our network, of shape (48,)"
    assert f"{pipe / 'bert'}: weights from diffusers: {missing}" in capsys.readouterr().err
    torch.save(kept, pipe / "bert" / "pytorch_model.bin")
    assert main(["weights", "add", *ROW, "--network", "toy-unett"]) == 2
    assert (
        "there is no such file; unknown published weights 'toy-unett'; did you mean 'toy-unet'?"
        in capsys.readouterr().err
    )
    assert main(add) == 0
