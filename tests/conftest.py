"""What every test shares: one thread, folders of its own, and the reasons why some tests are skipped here.

`make test` runs them in as many processes as there are processors: a second thread would only wait for another process.
"""

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

# Read once, when torch loads OpenMP, here and in the processes that tests start. Threads that wait must not spin, or a
# second job on the machine makes small networks a hundred times slower.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch
from filelock import FileLock

from replication.harness.tracking import VARIABLE, Tracking
from replication.registry import REGISTRIES
from replication.sampling import generation

Once = Callable[[str, Callable[[Path], object]], Path]

torch.set_num_threads(1)


@pytest.fixture
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that holds both $REPLICATION_HOME and $REPLICATION_DATA."""
    monkeypatch.setenv("REPLICATION_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REPLICATION_DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once(name, make)`: the folder of that name, which `make` filled in whichever process of this session came first."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, making = base / f"once-{name}", base / f"once-{name}-{os.getpid()}"
        with FileLock(base / f"once-{name}.lock"):
            if not folder.exists():
                making.mkdir()
                make(making)
                making.rename(folder)
        return folder

    return made


@pytest.fixture(scope="session")
def copy_store(once: Once) -> Callable[[Path], None]:
    """Into a state folder without one, the empty store that MLflow has made once."""
    follow = Tracking._follow_the_folder

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Tracking, "_follow_the_folder", follow)
            Tracking(folder).client.get_experiment_by_name("Default")

    def copy(state: Path) -> None:
        if not (state / "mlflow.db").exists():
            state.mkdir(parents=True, exist_ok=True)
            for part in once("mlflow", make).glob(
                "mlflow.db*"
            ):  # with its log, where whoever made it still has it open
                shutil.copyfile(part, state / part.name)

    return copy


@pytest.fixture(scope="session", autouse=True)
def own_stores_are_copies(copy_store: Callable[[Path], None]) -> Iterator[Callable[[Tracking], None]]:
    """A new store, which MLflow makes in 1,700 statements and seconds, is made once and copied, also where a fixture of a
    module runs experiments. The method that this replaces, for a test of a store that MLflow makes."""
    follow = Tracking._follow_the_folder

    def copied(tracking: Tracking) -> None:
        if tracking.is_own:
            copy_store(tracking.state)
        follow(tracking)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Tracking, "_follow_the_folder", copied)
        yield follow


@pytest.fixture(autouse=True)
def tracking_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow sets $MLFLOW_TRACKING_URI for processes that it would start: after a test it is as it was before."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)


@pytest.fixture(scope="session")
def inception_weights(once: Once) -> Path:
    """Random weights in torch-fidelity's format."""
    from replication.bench.random_inception import write_inception

    return once("inception", lambda folder: write_inception(folder / "random.pth")) / "random.pth"


@pytest.fixture(scope="session")
def plugged_in() -> None:
    """torch-fidelity has our embedded extractors, under their names."""
    from oracles.fidelity_plugin import plug_in

    plug_in()


@pytest.fixture(autouse=True)
def floors_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a few images the 20 evaluations that the fastest is taken of are most of a row."""
    monkeypatch.setattr(generation, "FLOOR_REPEATS", 1)


@pytest.fixture(autouse=True)
def no_part_outlives_its_test() -> Iterator[None]:
    """What a test registers from a module of its own is gone after it, or a later test would go through it as well."""
    before = {parts: set(parts._factories) for parts in REGISTRIES.values()}
    yield
    for parts, names in before.items():
        for name in parts._factories.keys() - names:
            if not parts._factories[name].__module__.startswith("replication."):
                del parts._factories[name], parts._canonical[name]


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # modules and the 5,000 tests: a search for garbage passes over them, of which a run has hundreds


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or libraries complain at the end of what they take for lost


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    absent = {}
    if not torch.cuda.is_available():
        absent["gpu"] = "there is no CUDA device"
    if os.environ.get("REPLICATION_NETWORK_TESTS") != "1":
        absent["network"] = "REPLICATION_NETWORK_TESTS is not 1"
    for item in items:
        for marker, reason in absent.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
