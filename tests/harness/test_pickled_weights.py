"""Torch's own files: read by weights_only alone, the averaged copy before the raw one, and not twice in memory."""

import argparse
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from harness.test_brought_weights import STEM, add, peer, saved
from harness.tiny import write_tiny
from torch import Tensor

from replication.checkpoint import load_checkpoint, load_metadata
from replication.layers.weight_files import NAME, read_weights, weight_files
from replication.training.snapshots import ONE_COPY
from replication.types import InputError

W = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


@pytest.fixture
def tiny(project: Path) -> Path:
    write_tiny(project)
    return project


class Called:
    """What runs a command where a pickle of it is read."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch called",)


class ModelCheckpoint:
    """A callback of Lightning's, whose class its checkpoints name."""


ModelCheckpoint.__module__ = "pytorch_lightning.callbacks.model_checkpoint"


def written(content: object, path: Path, monkeypatch: pytest.MonkeyPatch | None = None, **options: object) -> Path:
    torch.save(content, path, **options)
    return path


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("name", ["w.pt", "w.ckpt", "w.bin", "w.pth", "weights"])
def test_a_file_of_torch_is_read_whatever_it_is_called(tmp_path: Path, name: str, zipped: bool) -> None:
    path = written(OrderedDict(W), tmp_path / name, _use_new_zipfile_serialization=zipped)
    read = read_weights(weight_files(path))
    assert read.keys() == W.keys()
    assert all(torch.equal(read[key], W[key]) for key in W)


def test_folders_of_pickles(tmp_path: Path) -> None:
    """As diffusers saves them, whole and in shards. Catches: a choice of the pickle where safetensors lie beside it."""
    network = peer()
    tensors = network.state_dict()
    network.save_pretrained(tmp_path / "whole", safe_serialization=False)
    network.save_pretrained(tmp_path / "shards", safe_serialization=False, max_shard_size="300KB")
    assert (tmp_path / "whole" / f"{STEM}.bin").is_file()
    assert (tmp_path / "shards" / f"{STEM}.bin.index.json").is_file()
    for name in ("whole", "shards"):
        read = read_weights(weight_files(tmp_path / name))
        assert read.keys() == tensors.keys()
        assert all(torch.equal(read[key], tensors[key]) for key in tensors)
    saved(tmp_path / "whole")
    assert weight_files(tmp_path / "whole").files == (tmp_path / "whole" / NAME,)


def test_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: a reader that makes objects, and one that names no reason."""
    monkeypatch.chdir(tmp_path)
    for name, content, message in (
        (
            "calls.pt",
            {**W, "x": Called()},
            r"calls\.pt: a pickle that calls \w+\.system, which no weights have to: do not trust",
        ),
        (
            "class.pt",
            {**W, "x": peer()},
            r"class\.pt: a pickle that needs diffusers\S+UNet2DModel, and tensors and plain",
        ),
        ("no-tensors.pt", {"step": 3}, "holds no tensors under names, but dict"),
        ("list.pt", [W["a.bias"]], "holds no tensors under names, but list"),
    ):
        with pytest.raises(InputError, match=message):
            read_weights(weight_files(written(content, tmp_path / name)))
    (tmp_path / "edm.pkl").write_bytes(pickle.dumps({"ema": Called()}))
    with pytest.raises(
        InputError, match=r"edm\.pkl: a pickle of whole objects.*\['ema'\]\.state_dict\(\), 'weights\.pt'"
    ):
        weight_files(tmp_path / "edm.pkl")
    assert not (tmp_path / "called").exists()
    whole = written(W, tmp_path / "cut.pt").read_bytes()
    for size in (0, 3, 70, len(whole) // 2, len(whole) - 30):
        (tmp_path / "cut.pt").write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"cut\.pt: not a readable"):
            read_weights(weight_files(tmp_path / "cut.pt"))


def test_records_beside_the_weights_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As DiT's and SiT's trainings and Lightning's keep them. Catches: official files refused for what is beside the weights,
    and an optimiser's moments that are taken for weights."""
    module = type(sys)("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = ModelCheckpoint  # type: ignore[attr-defined]
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    opt = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])
    opt.param_groups[0]["params"][0].sum().backward()
    opt.step()
    lightning = {"callbacks": {ModelCheckpoint: {"best_model_score": torch.tensor(1.0)}}, "state_dict": W, "epoch": 3}
    ours = {"args": argparse.Namespace(lr=1e-4), "ema": W, "opt": opt.state_dict()}
    for content, prefix in ((lightning, "state_dict."), (ours, "ema.")):
        read = read_weights(weight_files(written(content, tmp_path / "w.pt")))
        assert read.keys() == {prefix + name for name in W}


def test_the_average_is_taken_where_there_is_one(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In tables, under prefixes, and both. Catches: the raw weights, whose images are four times as far (12 for 3.2 in FID),
    and a choice that nobody is told of."""
    raw, average = peer().state_dict(), {name: tensor + 0.5 for name, tensor in peer().state_dict().items()}

    def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {prefix + name: tensor for name, tensor in tensors.items()}

    cases: list[tuple[dict[str, object], str]] = [
        ({"model": raw, "ema": average, "opt": {"state": {0: {"step": torch.ones(1)}}}}, "'ema.', and what is under model was left"),
        ({"net_model": raw, "ema_model": average, "x_T": torch.ones(2)}, "'ema_model.', and what is under net_model, x_T was"),
        ({"model": raw, "ema": {**under("ema_model.", average), **under("online_model.", raw)}}, "those under 'ema.ema_model.'"),
        ({"state_dict": under("module.", raw), "ema_state_dict": under("module.", average)}, "those under 'ema_state_dict.module.'"),
        ({**under("model.", raw), **under("ema.", average)}, "'ema.', and what is under model was left"),
        ({"model": average, "ema": {"decay": torch.ones(1)}}, "under ema are no weights of this network: the raw ones were taken"),
        ({"state_dict": average, "step": 3}, "'state_dict.' was taken off the name of every tensor"),
    ]  # fmt: skip
    for content, said in cases:
        assert add(written(content, tiny / "w.pt")) == 0, said
        assert said in capsys.readouterr().out
        (checkpoint,) = (tiny / "runs" / "checkpoints").glob("*.safetensors")
        assert torch.equal(load_checkpoint(checkpoint)[0]["ema.conv_in.bias"], average["conv_in.bias"]), said
        assert load_metadata(checkpoint)[ONE_COPY]
        checkpoint.unlink()


def test_weights_given_are_raw_and_averaged_in_one(tiny: Path) -> None:
    """Catches: a protocol without averaging that finds no weights in what was given."""
    from replication.harness.experiment import load_experiment
    from replication.harness.jobs.cell import cells_of
    from replication.training.train import load_network

    assert add(written(peer().state_dict(), tiny / "w.pt")) == 0
    (checkpoint,) = (tiny / "runs" / "checkpoints").glob("*.safetensors")
    recipe = cells_of(load_experiment("tiny", {}, "cpu"), "cpu")[0].recipe
    raw, averaged = (load_network(recipe, checkpoint, torch.device("cpu"), ema).state_dict() for ema in (False, True))
    assert all(torch.equal(raw[name], averaged[name]) for name in averaged)


LOADING = """
import resource, sys
from pathlib import Path
from replication.harness.given_weights import under_its_names
from replication.layers.weight_files import weight_files
from replication.registry import MODELS
from replication.settings import Part
from replication.training.first_stage import without_memory
from replication.training.snapshots import Snapshots
import diffusers
part = Part(name="dit", options=dict(resolution=32, channels=4, classes=10, depth=3, width=768, heads=12, patch=2))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with without_memory():
    network = part.build(MODELS)
found = weight_files(Path(sys.argv[1]))
taken = under_its_names(MODELS, part, network, found)
Snapshots(Path(sys.argv[2]), {"of": "this"}).give(taken.weights, network, 1, found.sha256(), {})
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("zipped", [True, False], ids=["mapped", "before torch 1.6"])
def test_loading_takes_little_more_than_the_file(tmp_path: Path, zipped: bool) -> None:
    """At most 1.2 times the file, from reading to the checkpoint on disk. Catches: a network filled at random that is then
    filled again, and weights kept twice, raw and averaged (2.0 and more)."""
    from oracles.official_dit import official_dit

    path = written(official_dit(resolution=32, classes=10, depth=3, width=768, heads=12).state_dict(), tmp_path / "w.pt",
                   _use_new_zipfile_serialization=zipped)  # fmt: skip
    done = subprocess.run([sys.executable, "-c", LOADING, path, tmp_path], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 1.2 * path.stat().st_size
