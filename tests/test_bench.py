"""The bench runs and compares networks of the same configuration; its figures are not judged here."""

import pytest
import torch

from replication import bench


def test_bench_prints_floor_loop_and_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: a preset that the peer's configuration did not follow (weights would not fit)."""
    monkeypatch.setattr(bench, "TURNS", 1)
    monkeypatch.setattr(bench, "STEPS", 2)
    lines = bench.bench_sampling(torch.device("cpu")).splitlines()
    assert len(lines) == 4
    assert all(line.count("%") == 2 for line in lines[2:])


def test_bench_prints_dit_beside_its_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two answers of a random network differ by at most 1e-4 (max-abs, float32), and are not both 0.

    Catches: other weights, a label or a timestep that one of them is not told, and diffusers' own sinusoids (0.1).
    """
    monkeypatch.setattr(bench, "DITS", ("dit-s/8",))
    monkeypatch.setattr(bench, "DIT_TURNS", 1)
    cells = [cell.strip() for cell in bench.bench_dit(torch.device("cpu")).splitlines()[2].split("|")]
    assert cells[1].startswith("dit-s/8, batch 2")
    assert all(float(cell) > 0 for cell in cells[2:5])
    assert 0 < float(cells[5]) <= 1e-4


def test_bench_prints_distances_that_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours and torch-fidelity's distance of the same features differ by less than 1e-6, singular covariances included.

    Catches: the two given different features, or one of them the reference twice.
    """
    monkeypatch.setattr(bench, "IMAGES", 60)
    monkeypatch.setattr(bench, "WIDTH", 64)
    monkeypatch.setattr(bench, "RESAMPLES", 2)
    cells = [cell.strip() for cell in bench.bench_distance(torch.device("cpu")).splitlines()[2].split("|")]
    assert cells[1].startswith("n = 60, D = 64")
    assert float(cells[5]) < 1e-6
