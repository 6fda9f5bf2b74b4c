"""A whole experiment in a second: two training steps, sixteen images."""

from pathlib import Path

TOML = """
title = "tiny"
papers = ["arXiv:2006.11239"]

[[claim]]
kind = "tradeoff"
name = "few"
statement = "few steps will do"
citation = "nobody"
candidate = { label = "DDIM", steps = 2 }
reference = { label = "DDPM", steps = 4 }
baseline = { label = "sigma-hat", steps = 2 }
bad = { label = "sigma-hat", steps = 2 }
quality = { about = 0.8 }
speed = { about = 2.0 }
minimum_profile = "cpu"

[profiles.cpu]
batch_size = 8
[profiles.cpu.recipe]
dataset = "digits"
network = "ddpm-digits"
schedule = { name = "linear", T = 20, beta_end = 0.3 }
parameterization = "eps"
objective = "simple"
[profiles.cpu.recipe.training]
steps = 2
batch_size = 8
learning_rate = 1e-3
warmup = 1
ema_decay = 0.5
flip = false
[profiles.cpu.protocol]
name = "tiny"
n = 16
seeds = [0]
quantizer = "round"
reference = "test"
extractor = "digits-cnn"
resamples = 5
nll_images = 4
[[profiles.cpu.rows]]
label = "DDPM"
sampler = { name = "ancestral", variance = "fixed-large" }
spacing = "uniform"
steps = [4]
clip = "x0"
nll = "fixed-large"
[[profiles.cpu.rows]]
label = "DDIM"
sampler = { name = "ddim", eta = 0.0 }
spacing = "quadratic"
steps = [2]
clip = "none"
published = [{ table = "t", row = "r" }]
[[profiles.cpu.rows]]
label = "sigma-hat"
sampler = { name = "ancestral", variance = "fixed-large" }
spacing = "uniform"
steps = [2]
clip = "x0"

[tables.t]
paper = "p"
table = "Table 1"
source = "C"
dataset = "digits"
protocol = { name = "theirs", n = 16, seeds = [0], quantizer = "round", reference = "test", extractor = "digits-cnn" }
sampling = { sampler = { name = "ddim", eta = 0.0 }, spacing = "quadratic", clip = "none", last_alpha = "1", first_stage = "none" }
metric = { evaluator = "torch-fidelity", selection = "none" }
rows = [{ row = "r", steps = [2], values = { fd = [6.84] } }]
"""


def write_tiny(folder: Path, *changes: tuple[str, str]) -> Path:
    """The experiment as folder/experiments/tiny.toml, with pieces of text replaced; each piece must be there."""
    text = TOML
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    (folder / "experiments").mkdir(parents=True, exist_ok=True)
    path = folder / "experiments" / "tiny.toml"
    path.write_text(text)
    return path
