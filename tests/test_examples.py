"""The scripts of examples/ run as they are, on checkpoints and images that take no time to make."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from replication.cli import main
from replication.harness.experiment import load_experiment
from replication.harness.job import jobs_of
from replication.registry import MODELS

ROOT = Path(__file__).parents[1]


def run(folder: Path, *arguments: str) -> str:
    """Standard output of a Python process in the folder, whose state and data are there too."""
    places = {"REPLICATION_HOME": str(folder / "runs"), "REPLICATION_DATA": str(folder / "data")}
    environment = {**os.environ, **places, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def photographs(folder: Path, count: int, size: int, seed: int) -> Path:
    generator = torch.Generator().manual_seed(seed)
    folder.mkdir()
    for i in range(count):
        pixels = torch.randint(0, 256, (size, size, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / f"{i:02d}.png")
    return folder


def test_scripts_are_short() -> None:
    assert all(len(file.read_text().splitlines()) < 40 for file in (ROOT / "examples").glob("*.py"))


def test_any_sampler_samples_from_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are given stand for trained ones. Catches a name of the library that the script no longer finds."""
    save_file(MODELS.build("ddpm-digits").state_dict(), tmp_path / "weights.safetensors")
    given = ["--profile", "cpu", "--row", "DDPM", "--network", "weights.safetensors"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPLICATION_HOME", str(tmp_path / "runs"))
    assert main(["weights", "add", "ddpm", *given]) == 0
    script = str(ROOT / "examples/sample_with_any_sampler.py")
    assert "wrote dpmpp_2m-karras-3.png" in run(tmp_path, script, "dpmpp_2m", "karras", "3")
    assert Image.open(tmp_path / "dpmpp_2m-karras-3.png").size == (800, 80)


def test_own_data_makes_an_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the training: photographs are added, and the experiment's cells are checked."""
    photographs(tmp_path / "photographs", 30, 40, 2)
    script = (ROOT / "examples/replicate_on_own_data.py").read_text()
    quick = script.replace('["run", "own.toml"', '["plan", "own.toml"').replace(', ["report", "own.toml"]', "")
    assert quick.count("plan") == 1
    (tmp_path / "script.py").write_text(quick)
    assert "see results/own-own.md" in run(tmp_path, "script.py", "photographs", "10")
    monkeypatch.setenv("REPLICATION_DATA", str(tmp_path / "data"))
    cells = jobs_of(load_experiment(str(tmp_path / "own.toml"), profile="own"), "own")
    assert [(job.label, job.recipe.training.steps) for job in cells][-1] == ("DDPM", 10)
