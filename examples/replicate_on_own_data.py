"""A table of DDPM and DDIM on your own photographs: a folder of images of any size, resized to 32x32.

python examples/replicate_on_own_data.py PHOTOGRAPHS [TRAINING_STEPS]
"""

import subprocess
import sys
from pathlib import Path

folder, steps = (*sys.argv[1:], "20000")[:2]
Path("own.toml").write_text(f"""
title = "DDPM and DDIM on photographs of my own"
papers = ["arXiv:2006.11239", "arXiv:2010.02502"]

[profiles.own]
base = "ddpm.gpu"           # everything that is not said here is as on CIFAR-10
counts_as = "gpu"
recipe.dataset = {{ name = "own-images", title = "mine", resolution = 32 }}
recipe.training.steps = {steps}
recipe.training.precision = "float32"
protocol = {{ extractor = "cifar10-resnet", preprocessing = "crop, bicubic", n = 1000, precision = "float32" }}
batch_size = 100
rows = [
  {{ label = "DDIM", sampler = "ddim", spacing = "uniform", steps = [10, 20, 50], clip = "none" }},
  {{ label = "DDPM", sampler = "ancestral", spacing = "uniform", steps = [1000], clip = "x0" }},
]
""")
own = ["own-images", folder, "--set", "title=mine", "--set", "resolution=32"]
for command in (["data", "add", *own], ["run", "own.toml", "--profile", "own"], ["report", "own.toml"]):
    subprocess.run([sys.executable, "-m", "replication", *command], check=True)
print("see results/own-own.md")
