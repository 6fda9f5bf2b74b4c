"""A latent diffusion experiment in seconds: a first stage of six steps, networks of two, sixteen or twenty images."""

from pathlib import Path

TOML = """
title = "tiny latents"
papers = ["arXiv:2112.10752"]

[profiles.cpu]
batch_size = 10
[profiles.cpu.first_stages.small]
published = [{ table = "t", row = "r" }]
[profiles.cpu.first_stages.small.autoencoder]
name = "kl-f2"
image_channels = 1
width = 4
multipliers = [1, 1]
blocks = 1
groups = 2
latent_channels = 2
scaling = "std"
[profiles.cpu.first_stages.small.loss]
regularizer_weight = 1e-6
perceptual = "none"
[profiles.cpu.first_stages.small.training]
steps = 6
batch_size = 8
learning_rate = 1e-3
warmup = 1
ema_decay = 0.5
flip = false
[profiles.cpu.recipe]
dataset = "digits"
schedule = { name = "scaled_linear", T = 20, beta_start = 0.01, beta_end = 0.3 }
parameterization = "eps"
objective = "simple"
[profiles.cpu.recipe.network]
name = "ldm-unet"
resolution = 8
channels = 1
width = 8
multipliers = [1, 1]
blocks = 1
attention = [2]
heads = 1
groups = 2
[profiles.cpu.recipe.training]
steps = 2
batch_size = 8
learning_rate = 1e-3
warmup = 1
ema_decay = 0.5
flip = false
[profiles.cpu.protocol]
name = "tiny"
n = 20
seeds = [0]
quantizer = "round"
reference = "test"
extractor = "digits-cnn"
resamples = 5
[[profiles.cpu.rows]]
label = "pixels"
sampler = "ddim"
spacing = "uniform"
steps = [2]
clip = "none"
[[profiles.cpu.rows]]
label = "latents"
sampler = "ddim"
spacing = "uniform"
steps = [2]
clip = "none"
[profiles.cpu.rows.recipe]
first_stage = "small"
network = { name = "ldm-unet", resolution = 4, channels = 2, width = 8, multipliers = [1, 1], blocks = 1, attention = [2], heads = 1, groups = 2 }
[[profiles.cpu.rows]]
label = "text"
sampler = "ddim"
spacing = "uniform"
steps = [2]
clip = "none"
guidance = { weight = 2.0 }
[profiles.cpu.rows.recipe]
first_stage = "small"
condition = "text"
network = { name = "ldm-unet", resolution = 4, channels = 2, width = 8, multipliers = [1, 1], blocks = 1, attention = [2], heads = 1, groups = 2, context = 8, vocabulary = 35, length = 12, text_layers = 1, text_heads = 1 }

[tables.t]
paper = "p"
table = "Table 8"
source = "R"
dataset = "imagenet-256"
protocol = { name = "theirs", n = 16, seeds = [0], quantizer = "round", reference = "test", extractor = "digits-cnn" }
rows = [{ row = "r", steps = [1], values = { fd = [0.58] } }]
"""


def write_tiny_latent(folder: Path, *changes: tuple[str, str]) -> Path:
    """The experiment as folder/experiments/latent.toml, with pieces of text replaced; each piece must be there."""
    text = TOML
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    (folder / "experiments").mkdir(exist_ok=True)
    path = folder / "experiments" / "latent.toml"
    path.write_text(text)
    return path
