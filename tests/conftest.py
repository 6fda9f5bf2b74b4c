"""What every test shares: one thread, folders of its own, and the reasons why some tests are skipped here.

`make test` runs them in as many processes as there are processors: a second thread would only wait for another process.
"""

import os
from collections.abc import Iterator
from pathlib import Path

# Read once, when torch loads OpenMP, here and in the processes that tests start. Threads that wait must not spin, or a
# second job on the machine makes small networks a hundred times slower.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch

from replication.registry import REGISTRIES

torch.set_num_threads(1)


@pytest.fixture
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that holds both $REPLICATION_HOME and $REPLICATION_DATA."""
    monkeypatch.setenv("REPLICATION_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REPLICATION_DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture(autouse=True)
def no_part_outlives_its_test() -> Iterator[None]:
    """What a test registers from a module of its own is gone after it, or a later test would go through it as well."""
    before = {parts: set(parts._factories) for parts in REGISTRIES.values()}
    yield
    for parts, names in before.items():
        for name in parts._factories.keys() - names:
            if not parts._factories[name].__module__.startswith("replication."):
                del parts._factories[name], parts._canonical[name]


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
