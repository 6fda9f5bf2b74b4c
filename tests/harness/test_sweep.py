"""A whole run: rows, journal, MLflow; nothing computed twice, nothing lost."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import pytest
import torch
from harness.tiny import write_tiny

from replication.deadline import Deadline, OutOfTime
from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import Cell, cells_of
from replication.harness.journal import Computed
from replication.harness.store import Store, Sweep
from replication.harness.sweep import journal_of, run
from replication.harness.sync import sync
from replication.harness.workplace import Workplace
from replication.types import InputError, RunError


@pytest.fixture
def cells(project: Path) -> list[Cell]:
    return cells_of(load_experiment(str(write_tiny(project))), "cpu")


@pytest.fixture
def place(project: Path) -> Workplace:
    return Workplace(project / "runs", torch.device("cpu"), batch_size=8, progress=False)


def runs_in(store: Store) -> list:
    """Those below the sweep's."""
    client = mlflow.MlflowClient(store.address)
    return client.search_runs([e.experiment_id for e in client.search_experiments()], "tags.kind != 'sweep'")


def test_run_journals_and_tells_mlflow_once(
    cells: list[Cell], place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run per cell with parameters, metrics, tags and samples; run again, nothing is computed, nothing doubled."""
    store = Store(place.state)
    run(cells, place, store)
    records = [journal_of(cells, place.state).read(cell.key) for cell in cells]
    for cell, record in zip(cells, records, strict=True):
        assert record is not None
        assert record["sampling.nfe"] == cell.sampling.steps
        assert record["metric.fd_low"] <= record["metric.fd"] <= record["metric.fd_high"]
        assert record["timing.seconds_per_image"] > 0
        assert len(record["checkpoint.sha256"]) == 64
        assert {
            "env.commit",
            "env.dirty",
            "env.device",
            "env.torch",
            "protocol.n",
            "recipe.fingerprint",
        } <= record.keys()
    assert records[0] is not None
    assert records[0]["metric.nll"] > 0
    assert records[0]["metric.nll_images"] == 4
    runs = runs_in(store)
    assert {r.data.tags["cell"] for r in runs} == {c.key for c in cells}
    logged = next(r for r in runs if r.data.tags["cell"] == cells[1].key)
    assert records[1] is not None
    assert logged.data.metrics["metric.fd"] == pytest.approx(records[1]["metric.fd"])
    assert logged.data.params["sampling.sampler"] == "ddim(eta=0.0)"
    for folder, end in (("samples", "png"), ("replicates", "safetensors")):
        (file,) = mlflow.MlflowClient(store.address).list_artifacts(logged.info.run_id, folder)
        assert file.path == f"{folder}/{cells[1].key}.{end}"

    monkeypatch.setattr(Cell, "compute", lambda *_: pytest.fail("a finished cell was computed again"))
    run(cells, place, store)
    assert sync(journal_of(cells, place.state), store, trust_marks=False) == len(cells)
    assert len(runs_in(store)) == len(cells)


def test_rows_survive_a_failing_store_and_sync_repeats_them(
    cells: list[Cell], place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow dies after the first cell: the others are computed, it is not asked for each, and sync gives them all later."""
    store, asked = Store(place.state), []

    def broken(*_: object) -> None:
        asked.append(1)
        raise RunError("MLflow is gone")

    with monkeypatch.context() as patched:
        patched.setattr(Sweep, "log", broken)
        with pytest.raises(RunError, match=r"MLflow is gone; the rows are safe in .*replicate sync"):
            run(cells, place, store)
    assert len(asked) == 2, "after the first row, and at the end"
    journal = journal_of(cells, place.state)
    assert all(journal.read(cell.key) for cell in cells)
    assert sync(journal, store, trust_marks=True) == len(cells)
    assert len(runs_in(store)) == len(cells)


def test_a_failing_cell_keeps_the_others(cells: list[Cell], place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    real, done = Cell.compute, []

    def second_fails(cell: Cell, where: Workplace) -> Computed:
        done.append(cell.key)
        if len(done) == 2:
            raise RunError("out of luck")
        return real(cell, where)

    monkeypatch.setattr(Cell, "compute", second_fails)
    with pytest.raises(RunError, match="out of luck"):
        run(cells, place, Store(place.state))
    journal = journal_of(cells, place.state)
    assert [journal.read(cell.key) is not None for cell in cells] == [True, False, False]


def test_damaged_row_is_named(cells: list[Cell], place: Workplace) -> None:
    folder = journal_of(cells, place.state).folder
    folder.mkdir(parents=True)
    for content in ("{", "[]", json.dumps({"cell": "another"})):
        (folder / f"{cells[0].key}.json").write_text(content)
        with pytest.raises(InputError, match=rf"{cells[0].key}\.json: not .*delete it and run again"):
            run(cells, place, Store(place.state))


@pytest.fixture
def server() -> Iterator[str]:
    """A tracking server that answers at first, and takes nothing."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            self.send_error(500)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def test_unreachable_server_is_said_before_anything_is_computed(
    cells: list[Cell], place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(Cell, "compute", lambda *_: pytest.fail("computed without a tracking server"))
    with pytest.raises(
        InputError, match=r"MLFLOW_TRACKING_URI=http://127\.0\.0\.1:9: the tracking server does not answer"
    ):
        run(cells, place, Store(place.state))


def test_server_that_fails_while_running_keeps_the_rows(
    cells: list[Cell], place: Workplace, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    with pytest.raises(RunError, match=rf"MLflow at {server} did not take .*the rows are safe"):
        run(cells[1:2], place, Store(place.state))
    assert journal_of(cells, place.state).read(cells[1].key) is not None


def test_what_there_is_no_time_for_is_left_and_the_rest_is_done(
    cells: list[Cell], place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of three takes longer than is left. Catches a sweep that ends with it, and one that says it is done."""
    monkeypatch.setattr(Cell, "nfe", lambda cell: 10**12 if cell is cells[1] else 1)
    soon = replace(place, deadline=Deadline.within(3600))
    with pytest.raises(OutOfTime, match=r"no time for 1 of 3 rows; the first of them: DDIM x 2: it takes"):
        run(cells, soon, Store(place.state))
    journal = journal_of(cells, place.state)
    assert [journal.read(cell.key) is not None for cell in cells] == [True, False, True]
    monkeypatch.undo()
    run(cells, place, Store(place.state))
    assert journal.read(cells[1].key)


def test_without_mlflow_rows_stay_in_the_journal_and_sync_gives_them_later(
    cells: list[Cell], place: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a GPU machine. Catches a run that fails at its end there, or imports mlflow before."""
    store = Store(place.state)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "installed", False)
        patched.setattr(Store, "client", property(lambda _: pytest.fail("mlflow was asked for")))
        run(cells, place, store)
    assert capsys.readouterr().out.count("mlflow is not installed here") == 1
    assert sync(journal_of(cells, place.state), store, trust_marks=True) == len(cells)
