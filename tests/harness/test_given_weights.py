"""Published weights of a part of anybody's: under our names as they are, or as the module beside the part spells them."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from replication.cli import main
from replication.harness.fetched_weights import published
from replication.harness.given_weights import under_its_names
from replication.layers.weight_files import weight_files
from replication.registry import MODELS
from replication.settings import Part
from replication.types import InputError

NETWORK = """
import torch
from torch import nn
class Net(nn.Module):
    version = 1
    def __init__(self, width: int):
        super().__init__()
        self.layer = nn.Linear(width, 1)
        self.register_buffer("seen", torch.zeros(1))
"""
SPELLINGS = """
from newpaper.net import Net
from replication.layers.weights import Published, Spelling, under_our_names
def from_official(weights, network):
    return under_our_names(weights, ((r"^fc[.]", "layer."),), network, "the official code")
SPELLINGS = (Spelling(Net, "official", "fc.", from_official),)
WEIGHTS = (Published("toys-net", "newpaper.net:Net", "toys", "official", "https://example.org/net.safetensors", "CC0-1.0"),)
"""


@pytest.fixture
def part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
    """A paper in one folder, which is no part of this package."""
    folder = tmp_path / "newpaper"
    folder.mkdir()
    for name, source in (("__init__", ""), ("net", NETWORK), ("published_weights", SPELLINGS)):
        (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "modules", {k: v for k, v in sys.modules.items() if not k.startswith("newpaper")})
    return Part(name="newpaper.net:Net", options={"width": 3})


def given(tensors: dict[str, torch.Tensor], path: Path) -> Path:
    save_file(tensors, path)
    return path


def test_a_paper_brings_its_spelling_in_its_folder(part: Part, tmp_path: Path) -> None:
    """Catches a list of networks that a new paper would have to be entered in."""
    network, weight, bias = part.build(MODELS), torch.randn(1, 3), torch.randn(1)
    path = given({"fc.weight": weight, "fc.bias": bias}, tmp_path / "official.safetensors")
    found = under_its_names(MODELS, part, network, weight_files(path)).weights
    assert found.keys() == {"layer.weight", "layer.bias"}
    assert torch.equal(found["layer.weight"], weight)
    with pytest.raises(InputError, match=r"no published spelling of model newpaper.net:Net.*would be named: fc\.\*\)"):
        under_its_names(
            MODELS, part, network, weight_files(given({"fx.weight": weight}, tmp_path / "other.safetensors"))
        )


def test_our_own_names_need_no_converter(part: Part, tmp_path: Path) -> None:
    """With buffers and without. Catches own names that are handed to a converter, and another size taken."""
    network: nn.Module = part.build(MODELS)
    whole, parameters = network.state_dict(), dict(network.named_parameters())
    for tensors in (whole, {name: p.detach() for name, p in parameters.items()}):
        found = weight_files(given(tensors, tmp_path / "own.safetensors"))
        assert under_its_names(MODELS, part, network, found).weights.keys() == tensors.keys()
    wide = {name: torch.zeros(1, 4) if name == "layer.weight" else t for name, t in whole.items()}
    with pytest.raises(InputError, match=r"'layer\.weight' has shape \(1, 4\), not \(1, 3\)"):
        under_its_names(MODELS, part, network, weight_files(given(wide, tmp_path / "wide.safetensors")))


def test_published_files_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a folder's table that is left out, or listed once for each of its networks."""
    files = published()
    assert {"ddpm-cifar10", "dit-xl/2", "ldm-celebahq-4", "kl-f8"} <= {file.part for file in files}
    assert len(set(files)) == len(files)
    assert main(["weights", "list"]) == 0
    assert all(file.url in capsys.readouterr().out for file in files[:1])
