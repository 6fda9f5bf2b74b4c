"""What a user of MLflow finds: nested runs, inputs, curves, artifacts, tags to search by; and names that every backend takes."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from replication.cli import main
from replication.harness.journal import Computed, Curve, Journal, Record, unsealed
from replication.harness.mlflow_runs import LONGEST_VALUE, legal, run_of_curve, shortened
from replication.harness.store import METRICS, Store, sync
from replication.settings import content_key

KEY = "c" * 64
ROW: Record = {
    "experiment": "tiny",
    "profile": 'it\'s "cpu"',
    "cell": KEY,
    "label": "DDIM, η = 0",
    "sampling.sampler": "ddim(eta=0.0)",
    "sampling.steps": 50,
    "recipe.dataset": "digits",
    "recipe.fingerprint": "f" * 64,
    "protocol.reference": "digits test",
    "env.commit": "abc",
    "metric.fd": 1.5,
}


def runs(store: Store, wanted: str = "") -> list[Any]:
    client = mlflow.MlflowClient(store.address)
    return list(client.search_runs([e.experiment_id for e in client.search_experiments()], wanted))


@pytest.fixture
def journal(project: Path) -> Journal:
    return Journal(project / "runs" / "journal" / "tiny-cpu")


@pytest.fixture
def store(project: Path) -> Store:
    return Store(project / "runs")


def test_an_experiment_with_nested_runs_tables_and_the_page(project: Path, finished: Path, store: Store) -> None:
    """As the pages show a sweep. Catches: runs side by side, a run more for each report, a page that is not there, and
    artifacts of a report that is over."""
    client = mlflow.MlflowClient(store.address)
    for changed in (False, False, True):
        if changed:
            row = next((project / "runs" / "journal" / "tiny-cpu").glob("*.json"))
            row.write_text(json.dumps({**unsealed(row.read_bytes()), "metric.fd": 7.0}))
        assert main(["report", "tiny"]) == 0
        (sweep,) = runs(store, "tags.kind = 'sweep' and tags.profile = 'cpu'")
        names = {file.path for file in client.list_artifacts(sweep.info.run_id)}
        assert {"tiny-cpu.csv", "tiny-cpu.md", "tiny-cpu.json", "tiny-cpu-samples.png", "index.html"} <= names
        table = json.loads(Path(client.download_artifacts(sweep.info.run_id, "tiny-cpu.json")).read_text())
        assert len(table["data"]) == 3
        assert ([r[table["columns"].index("metric.fd")] for r in table["data"] if 7.0 in r] == [7.0]) == changed
    cells = runs(store, "tags.kind = 'cell' and tags.sampler = 'ancestral' and tags.dataset = 'digits'")
    assert {run.data.tags["label"] for run in cells} == {"DDPM", "sigma-hat"}
    assert {run.data.tags["mlflow.parentRunId"] for run in cells} == {sweep.info.run_id}
    for run in cells:
        (trained, reference) = run.inputs.dataset_inputs
        assert run.data.params["recipe.fingerprint"].startswith(trained.dataset.digest)
        assert (trained.dataset.name, trained.tags[0].value) == ("digits", "training")
        assert (reference.dataset.name, reference.tags[0].value) == ("digits test", "reference")
        assert run.data.tags["mlflow.source.git.commit"] == run.data.tags["env.commit"]
    assert len(client.load_table(sweep.info.experiment_id, "tiny-cpu.json", run_ids=[sweep.info.run_id])) == 3


def test_a_row_that_is_measured_again_has_one_run(journal: Journal, store: Store) -> None:
    """And the store of another machine's rows of that cell keeps them. Catches: two rows of one cell, or none."""
    theirs = Journal(journal.folder.parents[1] / "theirs")
    theirs.write(Computed({**ROW, "metric.fd": 9.0}, b"png"))
    assert sync(theirs, store, trust_marks=True) == 1
    for figure in (1.5, 2.5, 2.5):
        journal.write(Computed({**ROW, "metric.fd": figure}, b"png"))
        assert sync(journal, store, trust_marks=True) == 1
        assert sync(journal, store, trust_marks=True) == 0
        assert sorted(run.data.metrics["metric.fd"] for run in runs(store, "tags.kind = 'cell'")) == [figure, 9.0]
    assert sync(journal, store, trust_marks=False) == 1
    assert len(runs(store)) == 3, "the sweep's, theirs and ours"


def test_sync_brings_any_store_level(
    project: Path, journal: Journal, copy_store: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new one, one that lost a run, and one with a run that was cut off. Catches: marks that are believed, half a row."""
    for i, label in enumerate("abc"):
        journal.write(Computed({**ROW, "cell": f"{i:064d}", "label": label}, b"png"))
    copy_store(project)
    for address in ("", f"sqlite:///{project}/mlflow.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address) if address else None
        store = Store(project / "runs")
        for harm in ("none", "deleted", "cut off"):
            if harm == "deleted":
                store.client.delete_run(runs(store, "tags.label = 'b'")[0].info.run_id)
            elif harm == "cut off":
                store.client.update_run(runs(store, "tags.label = 'b'")[0].info.run_id, status="RUNNING")
            assert sync(journal, store, trust_marks=False) == 3
            left = runs(store, "tags.kind = 'cell'")
            assert sorted(run.data.tags["label"] for run in left) == ["a", "b", "c"]
            assert {run.info.status for run in left} == {"FINISHED"}


def test_a_damaged_row_keeps_no_other_from_the_store(journal: Journal, store: Store) -> None:
    """Catches: the rows after a damaged first one not given."""
    for i in range(3):
        journal.write(Computed({**ROW, "cell": f"{i:064d}", "label": f"row {i}"}, b"png"))
    (journal.folder / f"{0:064d}.json").write_text("{}")
    assert sync(journal, store, trust_marks=True) == 2
    assert len(runs(store, "tags.kind = 'cell'")) == 2


def test_a_training_has_its_setting_its_steps_and_its_machine(journal: Journal, store: Store) -> None:
    """Exact, more points than one call takes. Catches points that are lost, and figures of a machine among those of a loss."""
    steps = list(range(1, METRICS + 5))
    identity = {"dataset": "f" * 64, "training": {"learning_rate": 1e-3}, "network": {"name": "unet"}}
    curve: Curve = {"experiment": "tiny", "profile": "cpu", "training": KEY, "title": "DDPM", "dataset": "digits"}
    curve |= {"identity": identity, "step": steps, "loss": [1.0 / step for step in steps]}
    journal.write_curve(curve | {"cpu_percent": [50.0] * len(steps), "device_percent": [float("nan")] * len(steps)})
    assert sync(journal, store, trust_marks=True) == 1
    (run,) = runs(store, "tags.kind = 'training' and tags.dataset = 'digits'")
    history = mlflow.MlflowClient(store.address).get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == list(zip(steps, curve["loss"], strict=True))
    assert run.data.metrics["system/cpu_utilization_percentage"] == 50.0
    assert run.data.metrics.keys() == {"loss", "system/cpu_utilization_percentage"}
    assert run.data.params["training.learning_rate"] == "0.001"
    assert run.inputs.dataset_inputs[0].dataset.digest == "f" * 36


def test_a_long_parameter_is_its_hash_and_an_artifact(journal: Journal, store: Store) -> None:
    """Catches: a row that a backend refuses for its length, a text that is cut, and bytes that PostgreSQL has no place for."""
    text = "multipliers=" + "[1, 2]é" * 2000
    journal.write(Computed({**ROW, "recipe.network": text, "sampling.clip": "x\x00y\ud800"}, b"png"))
    assert sync(journal, store, trust_marks=True) == 1
    (run,) = runs(store, "tags.kind = 'cell'")
    assert run.data.params["recipe.network"] == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    kept = mlflow.MlflowClient(store.address).download_artifacts(run.info.run_id, "text/recipe.network.txt")
    assert Path(kept).read_text(encoding="utf-8") == text
    assert run.data.params["sampling.clip"] == r"x\x00y\ud800"


def test_names_are_legal_on_every_backend() -> None:
    """Each name is one name: catches a metric of somebody's own that a backend refuses, or that replaces another."""
    names = [
        "metric.fd",
        "metric.FD",
        "m@x",
        "m x",
        "m:x",
        "m\u00b2",
        "../up",
        "a//b",
        "/a",
        "",
        "x" * 300,
        "x" * 299 + "y",
    ]
    found = legal({name: name for name in names})
    assert sorted(found.values()) == sorted(names)
    assert found["metric.fd"] == "metric.fd"
    for name in found:
        assert mlflow.utils.validation.validate_param_and_metric_name(name)
        assert not mlflow.utils.validation.path_not_unique(name)
        assert name.isascii()
        assert 0 < len(name) <= 250
        assert not set(name) & set(" :@")
    assert len({name.casefold() for name in found}) == len(names)
    assert shortened({"a": "x" * LONGEST_VALUE})[1] == {}


def test_a_curve_of_an_earlier_version_is_given(tmp_path: Path) -> None:
    """Without its setting and its data set, as journals that are there hold them."""
    curve: Curve = {"experiment": "t", "profile": "cpu", "training": KEY, "title": "DDPM", "step": [1], "loss": [2.0]}
    run = run_of_curve(curve)
    assert (run.points, run.params, run.datasets) == ([(1, {"loss": 2.0})], {}, [])
    assert run.row == content_key(curve)
