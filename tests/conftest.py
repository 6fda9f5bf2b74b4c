"""What every test shares: two threads, folders of its own, and the reasons why some tests are skipped here."""

import os
from pathlib import Path

# Read once, when torch loads OpenMP: threads that wait must not spin, or a second job on the machine makes small
# networks a hundred times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch

torch.set_num_threads(2)


@pytest.fixture
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that holds both $REPLICATION_HOME and $REPLICATION_DATA."""
    monkeypatch.setenv("REPLICATION_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REPLICATION_DATA", str(tmp_path / "data"))
    return tmp_path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    absent = {}
    if not torch.cuda.is_available():
        absent["gpu"] = "there is no CUDA device"
    if os.environ.get("REPLICATION_NETWORK_TESTS") != "1":
        absent["network"] = "REPLICATION_NETWORK_TESTS is not 1"
    for item in items:
        for marker, reason in absent.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
