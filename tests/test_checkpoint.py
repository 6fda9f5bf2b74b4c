"""Checkpoints: what was written comes back, or an error does."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from replication.checkpoint import CHECKSUMS, Corrupt, check_checkpoint, load_checkpoint, load_metadata, save_checkpoint

TENSORS = {
    "ema.w": torch.arange(6.0).reshape(2, 3),
    "step": torch.tensor(3),
    "adam.m": torch.ones(2, dtype=torch.bfloat16),
    "none": torch.empty(0, 2),
    "chosen": torch.tensor([True, False]),
}
METADATA = {"loss": float("nan"), "step": 3, "sizes": (1, 2), "by number": {10: "a", 9: "b"}}


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    """Exact, and equal content makes equal files. Catches a type, a scalar or an empty tensor without a checksum, and a header
    whose keys are not texts yet."""
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        save_checkpoint(path, TENSORS, METADATA)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    tensors, metadata = load_checkpoint(paths[0])
    assert {name: (t.dtype, t.tolist()) for name, t in tensors.items()} == {
        name: (t.dtype, t.tolist()) for name, t in TENSORS.items()
    }
    written = json.dumps(json.loads(json.dumps(METADATA)), sort_keys=True)
    assert [json.dumps(of, sort_keys=True) for of in (metadata, load_metadata(paths[0]))] == [written] * 2
    assert list(load_checkpoint(paths[0], ("ema.",))[0]) == ["ema.w"]


@pytest.mark.parametrize("bit", [0, 5])
def test_a_flipped_bit_is_noticed_wherever_it_is(bit: int, tmp_path: Path) -> None:
    """In each byte of a file, one after the other; what still loads says the same. Catches a part without a checksum."""
    path = tmp_path / "whole"
    save_checkpoint(path, TENSORS, {"step": 3})
    content = path.read_bytes()
    name = range(content.index(CHECKSUMS.encode()), content.index(CHECKSUMS.encode()) + len(CHECKSUMS))
    noticed = 0
    for i in set(range(len(content))).difference(name):  # without that name it is a file from before there were any
        path.write_bytes(content[:i] + bytes([content[i] ^ 1 << bit]) + content[i + 1 :])
        try:
            check_checkpoint(path)
            tensors, metadata = load_checkpoint(path)
        except Corrupt:
            noticed += 1
        else:
            assert metadata == {"step": 3}
            assert {n: (t.dtype, t.tolist()) for n, t in tensors.items()} == {
                n: (t.dtype, t.tolist()) for n, t in TENSORS.items()
            }
    assert noticed > 0.9 * len(content)


def test_a_part_that_is_asked_for_is_checked_alone(tmp_path: Path) -> None:
    """Catches reading all of a large file for its averaged weights, and damage in a part that passes for a whole."""
    path = tmp_path / "part"
    save_checkpoint(path, TENSORS, {})
    content = path.read_bytes()
    at = content.rindex(TENSORS["ema.w"].numpy().tobytes()) + 5
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    assert list(load_checkpoint(path, ("adam.", "step"))[0]) == ["adam.m", "step"]
    with pytest.raises(Corrupt, match=r"part: the checkpoint is corrupt \(its tensor 'ema.w' is not the one that was"):
        load_checkpoint(path, ("ema.",))


def test_files_from_before_there_were_checksums_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "old", {"metadata": '{"step": 1}'})
    tensors, metadata = load_checkpoint(tmp_path / "old")
    assert (tensors["a"].tolist(), metadata) == ([1.0, 1.0], {"step": 1})
