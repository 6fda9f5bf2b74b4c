"""The bench runs and compares networks of the same configuration; its figures are not judged here."""

import pytest
import torch

from replication import bench


def test_bench_prints_floor_loop_and_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: a preset that the peer's configuration did not follow (weights would not fit)."""
    monkeypatch.setattr(bench, "TURNS", 1)
    monkeypatch.setattr(bench, "STEPS", 2)
    lines = bench.bench(torch.device("cpu")).splitlines()
    assert len(lines) == 4
    assert all(line.count("%") == 2 for line in lines[2:])
