"""The whole path of a user without the data: published weights listed, fetched in two parts, added, run, measured against
moments alone, exported, and measured again by torch-fidelity."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from harness.hub_server import PROTOCOL, PUBLISHED_TRAINING, Hub, serving
from PIL import Image

from oracles.official_dit import official_dit
from replication.cli import main
from replication.dit import published_weights
from replication.dit.model import DiT
from replication.layers.weights import Published
from replication.registry import MODELS

N, REAL = 10, 12
SIZES = {"resolution": 32, "classes": 3, "depth": 2, "width": 48, "heads": 4, "patch": 4, "channels": 3}
NAME = "dit-rehearsal"
TOML = f"""
title = "rehearsal"
papers = ["arXiv:2212.09748"]
[profiles.paper]
batch_size = 5
[profiles.paper.recipe]
dataset = {{ name = "own-images", resolution = 32, classes = 3 }}
network = "dit-rehearsal"
schedule = {{ name = "linear", T = 1000 }}
parameterization = "eps"
objective = "hybrid"
condition = "label"
{PUBLISHED_TRAINING}
{PROTOCOL}labels = "random"
[[profiles.paper.rows]]
label = "DiT, guidance 1.5"
sampler = {{ name = "ancestral", variance = "learned" }}
spacing = "iddpm"
steps = [3]
clip = "x0"
guidance = {{ weight = 1.5 }}
"""


@pytest.fixture
def hub(project: Path, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A project with one row, the weights of its network at a local address, and no images of its dataset."""
    (project / "experiments" / "rehearsal.toml").write_text(TOML)

    def rehearsal(resolution: int = 32, channels: int = 3, classes: int = 3) -> DiT:
        """A DiT of the rehearsal (Peebles and Xie 2023)."""
        return DiT(2, 48, 4, 4, channels, resolution, classes)

    rehearsal.__module__ = DiT.__module__
    MODELS.register(NAME)(rehearsal)
    file = io.BytesIO()
    averaged, raw = (official_dit(seed=seed, **SIZES).state_dict() for seed in (5, 6))
    torch.save({"model": raw, "ema": averaged}, file)
    with serving({"files/rehearsal.pt": file.getvalue()}) as running:
        of = {"dataset": "own-images", "resolution": 32, "steps": 9, "objective": "hybrid"}
        entry = Published("rehearsal", NAME, "toys", "official", f"{running.url}/files/rehearsal.pt", "CC0-1.0", **of)
        monkeypatch.setattr(published_weights, "WEIGHTS", (entry,))
        yield running
    del MODELS._factories[NAME], MODELS._canonical[NAME]


def real_images(folder: Path) -> None:
    folder.mkdir()
    coarse = np.random.default_rng(3).integers(0, 256, (REAL, 4, 4, 3), dtype=np.uint8)
    for i, pixels in enumerate(coarse):
        Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{i:02}.png")


def test_from_the_list_to_the_figure(
    hub: Hub, project: Path, plugged_in: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The distance within 1e-5, relative, of torch-fidelity's on the exported pictures and the images that the moments are of.

    Catches: a step of the path that needs the data, weights that are not those of the address, an export of other images.
    """
    row, of_row = "rehearsal:DiT, guidance 1.5:3", ["--profile", "paper", "--row", "DiT, guidance 1.5"]
    real_images(project / "real")
    assert main(["weights", "list", "--json"]) == 0
    (listed,) = (one for one in json.loads(capsys.readouterr().out) if one["name"] == "rehearsal")
    assert (listed["rows"], listed["here"]) == (["rehearsal: DiT, guidance 1.5"], "no")

    assert main(["run", "rehearsal", *of_row]) == 2  # the reference first
    assert "moments: no file real-images" in capsys.readouterr().err
    assert main(["reference", "make", "real-images", "real", "--set", "protocol.extractor=cifar10-resnet"]) == 0
    assert main(["plan", "rehearsal", *of_row, "--weights", "auto", "--json"]) == 0
    assert '"to download"' in capsys.readouterr().out

    hub.cut_after = len(hub.files["files/rehearsal.pt"]) // 2 + 100
    assert main(["weights", "fetch", "rehearsal"]) == 2
    assert "the same command goes on from there" in capsys.readouterr().err
    assert main(["weights", "fetch", "rehearsal"]) == 0
    assert [asked for _, asked, _ in hub.requests] == [None, f"bytes={hub.cut_after}-"]
    assert "replicate weights add rehearsal --row 'DiT, guidance 1.5' --network rehearsal" in capsys.readouterr().out

    assert main(["weights", "add", "rehearsal", "--row", "DiT, guidance 1.5", "--network", "rehearsal"]) == 0
    assert "the averaged weights were taken" in capsys.readouterr().out
    assert main(["run", "rehearsal", *of_row]) == 0
    capsys.readouterr()

    assert main(["samples", "export", row, "--profile", "paper", "--png", "out"]) == 0
    assert main(["samples", "export", row, "--profile", "paper", "--npz", "out.npz"]) == 0
    with np.load("out.npz") as file:
        pictures = np.stack([np.asarray(Image.open(path)) for path in sorted(Path("out").iterdir())])
        assert np.array_equal(file["arr_0"], pictures)
        assert pictures.shape == (N, 32, 32, 3)
        assert file["arr_1"].shape == (N,)
    figures = []
    capsys.readouterr()
    for subject in (row, "out", "out.npz"):
        of_row = ["--profile", "paper"] if subject == row else ["--set", "protocol.extractor=cifar10-resnet"]
        assert main(["measure", subject, "--reference", "real-images", "--json", *of_row]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["protocol.reference"] == f"moments of {REAL} images, real: no interval for the reference"
        figures.append(found["metric.fd"])
    assert figures[1:] == pytest.approx(figures[:1] * 2, rel=1e-9)

    theirs = torch_fidelity.calculate_metrics(
        **{"input1": "out", "input2": "real", "batch_size": N, "feature_extractor": "cifar10-resnet"},
        **{"fid": True, "cuda": False, "cache": False, "verbose": False},
    )
    assert figures[0] == pytest.approx(theirs[torch_fidelity.KEY_METRIC_FID], rel=1e-5)
    assert figures[0] > 1


def test_in_one_line(hub: Hub, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches: a line that asks for what it could fetch, or that does not go on after it was cut."""
    real_images(project / "real")
    assert main(["reference", "make", "real-images", "real", "--set", "protocol.extractor=cifar10-resnet"]) == 0
    line = ["run", "rehearsal", "--profile", "paper", "--row", "DiT, guidance 1.5", "--weights", "auto"]
    hub.cut_after = len(hub.files["files/rehearsal.pt"]) // 2 + 100
    assert main(line) == 2
    assert main(line) == 0
    out = capsys.readouterr().out
    assert f"DiT, guidance 1.5: rehearsal, {hub.url}/files/rehearsal.pt" in out
    assert main(line) == 0
    assert len(hub.requests) == 2
