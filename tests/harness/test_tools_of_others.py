"""Exported images as others' tools read them: ADM's evaluator, whose reading is written again here, and clean-fid, where it is
installed (`pip install clean-fid`, extra `dev`)."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from replication.cli import main
from replication.commands.samples import write_npz
from replication.harness.images import open_images

N, BATCH = 70, 64  # the evaluator's own batch size


def images(path: Path) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
    np.savez(path, arr_0=pixels)
    return pixels


def as_adm_reads(path: Path, name: str) -> Iterator[np.ndarray]:
    """guided-diffusion's evaluations/evaluator.py, open_npz_array: a member of the ZIP, streamed where its header is of version
    1.0 or 2.0, in C's order and of no objects; anything else is loaded whole."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
        assert np.lib.format.read_magic(member) == (1, 0)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        assert not fortran
        assert not dtype.hasobject
        for start in range(0, shape[0], BATCH):
            n = min(BATCH, shape[0] - start)
            content = member.read(n * int(np.prod(shape[1:])) * dtype.itemsize)
            yield np.frombuffer(content, dtype=dtype).reshape(n, *shape[1:])


def test_adms_evaluator_reads_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact. Catches: channels first, floats, a compressed or pickled member, labels in the place of images, and names
    under which the evaluator looks for statistics."""
    monkeypatch.chdir(tmp_path)
    pixels = images(tmp_path / "in.npz")
    assert main(["samples", "export", "in.npz", "--npz", "out.npz"]) == 0
    batches = list(as_adm_reads(tmp_path / "out.npz", "arr_0"))
    assert [len(batch) for batch in batches] == [BATCH, N - BATCH]
    assert batches[0].dtype == np.uint8
    assert np.array_equal(np.concatenate(batches), pixels)
    write_npz(open_images(tmp_path / "in.npz"), torch.arange(N) % 7, tmp_path / "labelled.npz")
    with np.load(tmp_path / "labelled.npz", allow_pickle=False) as file:
        assert file.files == ["arr_0", "arr_1"]
        assert file["arr_1"].dtype == np.int64
        assert np.array_equal(file["arr_1"], np.arange(N) % 7)


def test_clean_fid_reads_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact, by features that are the pixels' means. Catches: pictures in another order, with losses, or passed over."""
    fid = pytest.importorskip("cleanfid.fid", reason="clean-fid is not installed")
    monkeypatch.chdir(tmp_path)
    pixels = images(tmp_path / "in.npz")
    assert main(["samples", "export", "in.npz", "--png", "out"]) == 0

    def features(batch: torch.Tensor) -> torch.Tensor:
        return batch.double().mean(dim=(2, 3))

    reading = {"num_workers": 0, "batch_size": 16, "device": torch.device("cpu"), "verbose": False, "mode": "clean"}
    found = fid.get_folder_features("out", model=features, **reading)
    resize = fid.build_resizer("clean")
    expected = np.stack([resize(one).astype(np.float64).mean(axis=(0, 1)) for one in pixels])
    assert found == pytest.approx(expected, abs=1e-3)
    assert np.ptp(expected, axis=0).min() > 1
