"""Processes that are killed, and processes that share one store, come to what one process comes to that nothing disturbs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import killed


@pytest.mark.long
def test_rows_and_tables_are_the_same_whoever_was_killed_and_however_many_worked(
    tmp_path: Path, copy_store: Callable[[Path], None]
) -> None:
    """Byte for byte: tables, page, rows, strips, chunks, snapshots; each row once in MLflow; no chunk drawn twice but one in
    flight. Three random instants and two processes here, and by hand as many as are asked for.

    Catches: a file that is written in place, a snapshot or a chunk that is begun anew, a row that is measured otherwise after a
    kill, images that two processes draw, a row that two write, and one that dies with its process.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    copy_store(tmp_path)
    command = [sys.executable, killed.__file__, str(tmp_path), "3", "0", "2", str(tmp_path / "mlflow.db")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["killed"]["kills"] >= 3
    assert sum(found["shared"]["rows written"].values()) == 3
    assert found["shared"]["that drew"] > 1
    assert found["shared"]["chunks drawn again"] == 0
    assert found["shared, one killed"]["chunks drawn again"] <= 1
