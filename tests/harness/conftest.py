import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from harness.tiny import write_tiny

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.harness.store import Store
from replication.harness.sweep import run
from replication.harness.workplace import Workplace


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder that is the current one, with its own state and no tracking server."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    monkeypatch.delenv("REPLICATION_HOME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def finished(
    project: Path, once: Callable[[str, Callable[[Path], object]], Path], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The project with the tiny experiment, which was run to its end, once for all tests."""

    def make(folder: Path) -> None:
        cells = cells_of(load_experiment(str(write_tiny(folder))), "cpu")
        run(cells, Workplace(folder / "runs", torch.device("cpu"), 8, progress=False), Store(folder / "runs"))

    shutil.copytree(once("tiny", make), project, dirs_exist_ok=True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # which MLflow has set
    return project
