"""Weights take their own memory: in a process of its own, whose peak is nothing but this reading and writing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from replication.checkpoint import MAPPED, load_checkpoint, load_weights, save_checkpoint
from replication.training.snapshots import Snapshots

PROGRAM = """
import re, sys
from pathlib import Path
import torch
from torch import nn
from replication.layers.weight_files import in_single, not_finite, read_weights, weight_files
from replication.training.first_stage import without_memory
from replication.training.snapshots import Snapshots

def build():
    return nn.Sequential(*(nn.Conv2d(256, 256, 4) for _ in range(60)))

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

file, folder = Path(sys.argv[2]), Path(sys.argv[3])
snapshots, parameters = Snapshots(folder, {"of": "it"}), dict.fromkeys(["a"], torch.zeros(3))
snapshots.save(folder / "warm.safetensors", parameters, 1, {})  # what the libraries take at first use is not the weights'
not_finite(parameters)
nn.Conv2d(2, 2, 3)(torch.zeros(1, 2, 3, 3)).to(memory_format=torch.channels_last)
before = peak()
if sys.argv[1] == "give":
    with without_memory():
        network = build()
    weights = read_weights(weight_files(file))
    assert not not_finite(weights)
    snapshots.give(weights, network, 1, "", {})
elif sys.argv[1] == "single":
    with without_memory():
        network = build()
    network.load_state_dict(in_single(weight_files(file)), assign=True)
    file = snapshots.after(1)
else:
    file = snapshots.after(1)
    network = snapshots.load(build, file, 1)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
print(file.stat().st_size, peak() - before)
"""


def build() -> nn.Sequential:
    return nn.Sequential(*(nn.Conv2d(256, 256, 4) for _ in range(60)))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a peak is read from /proc")
@pytest.mark.parametrize("kind", ["half.safetensors", "averaged.pt"])
def test_memory_is_that_of_the_file(tmp_path: Path, kind: str) -> None:
    """At most 1.2 times the file: when given, half precision too, when read for a row, and as a
    network of diffusers, which is float32. Catches: all tensors made float32 at once (3.0 times), a network built beside its
    weights (2.1), a pickle read whole beside it, a file that stays mapped beside what was made of it (1.5)."""
    with torch.device("meta"):
        shapes = build().state_dict()
    weights = {
        name: torch.zeros(t.shape, dtype=torch.float16 if "half" in kind else torch.float32)
        for name, t in shapes.items()
    }
    if kind.endswith(".pt"):
        torch.save(weights, tmp_path / kind)
    else:
        save_file(weights, tmp_path / kind)
    # Freed blocks are given back at once: as its threshold grows, the C library keeps up to 45 MiB more, by where it was loaded.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    for what in ("give", "load", "single") if "half" in kind else ("give",):  # the last two against the size in float32
        command = [sys.executable, "-c", PROGRAM, what, str(tmp_path / kind), str(tmp_path)]
        result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        size, growth = map(int, result.stdout.split())
        assert size > 120e6, what
        assert growth <= 1.2 * size, (what, growth / size)


def test_a_checkpoint_is_to_the_byte_what_the_library_writes(tmp_path: Path) -> None:
    """Exact. Catches: another order or padding, which would be another SHA-256 of the same weights, a layout that is lost, and
    weights of half precision that are computed with as such."""
    torch.manual_seed(0)
    tensors = {
        "b.x": torch.randn(3, 2), "a": torch.randn(2, 5).double(), "c": torch.arange(4), "z": torch.tensor(1.5),
        "k": torch.randn(4).half(), "l": torch.randn(2, 3).bfloat16(), "n": torch.tensor([True, False]), "é": torch.zeros(0, 3),
        "m": torch.arange(3, dtype=torch.uint8), "o": torch.arange(3, dtype=torch.int32), "p": torch.arange(3, dtype=torch.int16),
        "q": torch.arange(3, dtype=torch.int8), "r": torch.randn(4, 3).T, "s": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
    }  # fmt: skip
    save_checkpoint(tmp_path / "ours.safetensors", tensors, {"key": "ä", "n": [1, 2]})
    with safe_open(tmp_path / "ours.safetensors", framework="pt") as file:
        said = file.metadata()
    save_file({name: t.contiguous() for name, t in tensors.items()}, tmp_path / "theirs.safetensors", said)
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()
    read, metadata = load_checkpoint(tmp_path / "ours.safetensors")
    assert metadata == {"key": "ä", "n": [1, 2]}
    one_by_one = load_weights(tmp_path / "ours.safetensors", ("",), "cpu")
    assert one_by_one.keys() == read.keys() == tensors.keys()
    wide = {name: t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for name, t in tensors.items()}
    assert all(torch.equal(one_by_one[name], t) and one_by_one[name].dtype == t.dtype for name, t in wide.items())


def test_numbers_of_fewer_bits_are_written_as_float32(tmp_path: Path) -> None:
    """Exact. Catches: float64 and integers narrowed along, and a file that is read in parts with a tensor lost between them."""
    size = MAPPED // 8
    tensors = {f"{i}": torch.full((size,), float(i)).half() for i in range(5)}
    tensors |= {"d": torch.tensor([1 / 3]).double(), "i": torch.tensor([2**40])}
    save_checkpoint(tmp_path / "x.safetensors", tensors, {}, single=True)
    read = load_weights(tmp_path / "x.safetensors", ("",), "cpu")
    assert {name: t.dtype for name, t in read.items()} == {**{f"{i}": torch.float32 for i in range(5)}, "d": torch.float64, "i": torch.int64}  # fmt: skip
    assert all(torch.equal(read[name], t.to(read[name].dtype)) for name, t in tensors.items())


class Remembers(nn.Module):
    """A buffer that no checkpoint keeps, and that is computed of a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("twice", 2 * self.weight.detach(), persistent=False)
        self.register_buffer("fixed", torch.arange(3.0), persistent=False)


def test_buffers_are_those_of_a_network_that_is_built_as_ever(tmp_path: Path) -> None:
    """Exact. Catches: a buffer left on the meta device, or a network whose parameters are still the initial ones."""
    snapshots = Snapshots(tmp_path, {"of": "it"})
    snapshots.give({"weight": torch.tensor([1.0, 2.0, 3.0])}, Remembers(), 1, "", {})
    network = snapshots.load(Remembers, snapshots.after(1), 1)
    assert network.weight.tolist() == [1, 2, 3]
    assert (network.twice.tolist(), network.fixed.tolist()) == ([2, 2, 2], [0, 1, 2])
    assert not network.weight.requires_grad
