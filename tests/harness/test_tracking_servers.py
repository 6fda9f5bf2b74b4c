"""A sweep beside a real MLflow server that is killed on the way: every row ends up there, once."""

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import mlflow
import pytest
import torch
from harness.tiny import write_tiny
from harness.tracking_servers import MlflowServer, postgres, postgres_is_absent

from replication.cli import main
from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import Cell, cells_of
from replication.harness.journal import Computed, Journal
from replication.harness.mlflow_runs import Run
from replication.harness.store import Store, Sweep
from replication.harness.sweep import journal_of, run
from replication.harness.workplace import Workplace
from replication.types import RunError


@pytest.fixture
def server(
    project: Path, copy_store: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[MlflowServer]:
    """Over PostgreSQL where there is one, which is stricter with figures than SQLite."""
    copy_store(project / "server")
    with nullcontext(f"sqlite:///{project}/server/mlflow.db") if postgres_is_absent() else postgres() as address:
        server = MlflowServer(address, project)
        server.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")  # of a machine that does other work
        try:
            yield server
        finally:
            server.kill()


@pytest.mark.long
def test_a_server_that_is_killed_costs_no_row(
    server: MlflowServer, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within the writing of the second row. Catches: rows that are lost, given twice or half, and a sweep that ends with
    the server; of figures also one that JSON has no number for."""
    cells = cells_of(load_experiment(str(write_tiny(project))), "cpu")
    place, computed, original = Workplace(project / "runs", torch.device("cpu"), 8, progress=False), [], Sweep.log

    def killed(sweep: Sweep, row: Run) -> str:
        if len(computed) == 2:
            patched.setattr(sweep._client, "log_batch", lambda *_: server.kill() or real(*_))
        return original(sweep, row)

    def counted(cell: Cell, where: Workplace) -> Computed:
        computed.append(cell)
        done = compute(cell, where)
        return done._replace(record={**done.record, "metric.own": math.inf if cell is cells[0] else math.nan})

    store, compute = Store(place.state), Cell.compute
    real = store.client.log_batch
    with monkeypatch.context() as patched:
        patched.setattr(Cell, "compute", counted)
        patched.setattr(Sweep, "log", killed)
        with pytest.raises(RunError, match="the rows are safe"):
            run(cells, place, store)
    assert len(computed) == 3, "the sweep went on"
    assert "The sweep goes on" in capsys.readouterr().err
    server.start()
    for _ in range(2):
        assert main(["sync"]) == 0
        client = mlflow.MlflowClient(server.address)
        number = client.get_experiment_by_name("tiny").experiment_id
        rows = client.search_runs([number], "tags.kind = 'cell'")
        assert sorted(row.data.tags["cell"] for row in rows) == sorted(cell.key for cell in cells)
        assert {row.info.status for row in rows} == {"FINISHED"}
        for row in rows:
            (strip,) = client.list_artifacts(row.info.run_id, "samples")
            kept = client.download_artifacts(row.info.run_id, strip.path)
            assert (
                Path(kept).read_bytes() == journal_of(cells, place.state).strip_path(row.data.tags["cell"]).read_bytes()
            )
    assert main(["report", "tiny"]) == 0
    (sweep,) = client.search_runs([number], "tags.kind = 'sweep'")
    assert "index.html" in {file.path for file in client.list_artifacts(sweep.info.run_id)}
    assert Journal(place.state / "journal" / "tiny-cpu").run_of("table", server.address)
