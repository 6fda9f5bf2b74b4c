"""Tracking addresses and states of the store: whatever MLflow cannot use is said before anything is computed."""

import base64
import datetime
import io
import ipaddress
import json
import math
import sqlite3
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import mlflow
import pytest
import torch
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from harness.tiny import write_tiny
from PIL import Image

from replication.cli import main
from replication.harness import tracking
from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import Cell, cells_of
from replication.harness.journal import Computed, Journal, Record
from replication.harness.mlflow_runs import run_of_row
from replication.harness.store import Store, sync
from replication.harness.sweep import run
from replication.harness.tracking import Tracking
from replication.harness.workplace import Workplace
from replication.report.claims.draws import figure
from replication.report.claims.verdict import NotTested
from replication.report.plots import refresh
from replication.report.rows import csv_text, read_csv
from replication.report.tables import main_tables
from replication.types import InputError, RunError

ROW: Record = {
    "cell": "c" * 64,
    "experiment": "tiny",
    "profile": "cpu",
    "label": "DDIM",
    "sampling.steps": 2,
    "metric.fd": 1.0,
}


def give(store: Store, record: Record = ROW, *files: tuple[Path, str]) -> None:
    with store.sweep(record["experiment"], record["profile"]) as sweep:
        sweep.log(run_of_row(record, files, {}))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("localhost:5000", "unsupported URI 'localhost:5000'"),
        ("ftp://host/mlflow", "unsupported URI"),
        ("uc:name", "Unity Catalog"),
        ("./mlruns", "maintenance mode"),
        ("file:///tmp/mlruns", "maintenance mode"),
        ("sqlite:////proc/none/all.db", "No such file or directory: '/proc/none'"),
        ("sqlite:////proc/version", "unable to open database file"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///{folder}", "unable to open database file"),
        ("sqlite:///{folder}/text", "file is not a database"),
        ("sqlite:///{folder}/a?b=c", "Query string argument(s) 'b' are not accepted"),
        ("nothing+postgresql://db/mlflow", "unsupported URI"),
        ("postgresql+nothing://db/mlflow", "Can't load plugin"),
        ("http://localhost:5000x", "this is not an address"),
        ("http://localhost:99999", "this is not an address"),
        ("http://[::1", "this is not an address"),
        ("http://", "this is not an address"),
        ("http://me:s3/cret@localhost", "this is not an address"),
        ("http://127.0.0.1:9", "the tracking server does not answer (Connection refused"),
        ("https://me:s3cret@127.0.0.1:9", "the tracking server does not answer"),
        ("http://127.0.0.1:9?token=s3cret", "the tracking server does not answer"),
        ("mysql+nothing://db/mlflow?user=me&password=s3cret", "Can't load plugin"),
    ],
)
def test_an_address_that_mlflow_cannot_use(
    project: Path, address: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "text").write_text("a text that is no database, and longer than its header" * 9)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address.format(folder=project))
    with pytest.raises(InputError) as caught:
        Store(project / "runs").check("tiny")
    assert str(caught.value).startswith("MLFLOW_TRACKING_URI=")
    assert reason in str(caught.value).replace("[Errno 111] ", "")
    assert "cret" not in str(caught.value)


def test_doctor_looks_at_the_address(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mysql+nothing://me:s3cret@db/mlflow")
    assert main(["doctor"]) == 2
    printed = capsys.readouterr()
    assert "| tracking " in printed.out
    assert "mysql+nothing://me:***@db/mlflow cannot be used" in printed.out.replace("\\", "")  # a Markdown table
    assert "s3cret" not in printed.out + printed.err


@contextmanager
def answering(
    answer: Callable[[BaseHTTPRequestHandler], tuple[int, str]], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """A server whose every GET is answered so; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = answer(self)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        if tls:
            httpd.socket = tls.wrap_socket(httpd.socket, server_side=True)
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


ABSENT = json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"})
DELETED = json.dumps({"experiment": {"experiment_id": "7", "name": "tiny", "lifecycle_stage": "deleted"}})
BROKEN = json.dumps({"error_code": "INTERNAL_ERROR", "message": "the database is gone"})


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (200, json.dumps({"experiment": {"experiment_id": "7", "lifecycle_stage": "active"}}), ""),
        (404, ABSENT, ""),
        (200, "OK", ""),
        (200, DELETED, "mlflow experiments restore --experiment-id 7"),
        (200, "<!doctype html><title>Log in</title>", "is no MLflow server"),
        (404, "Not Found", "is no MLflow server"),
        (302, "x", "is no MLflow server"),
        (500, BROKEN, "the tracking server fails (the database is gone)"),
        (403, "{}", "refuses (403 Forbidden)"),
    ],
)
def test_what_a_server_answers(
    project: Path, status: int, text: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(lambda _: (status, text)) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        store = Store(project / "runs")
        if not reason:
            store.check("tiny")
            return
        with pytest.raises(InputError) as caught:
            store.check("tiny")
    assert reason in str(caught.value)


def test_passwords_by_mlflows_rules(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the address, or in the variables; catches a probe that knows neither, and so refuses a server that is fine."""
    wanted = "Basic " + base64.b64encode(b"me:s3cret/%").decode()
    with answering(lambda asked: (404 if asked.headers["Authorization"] == wanted else 401, ABSENT)) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(InputError, match=r"refuses \(401 Unauthorized\): MLFLOW_TRACKING_USERNAME"):
            Store(project / "runs").check()
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret/%")
        Store(project / "runs").check()
        monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
        monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address.replace("//", "//me:s3cret%2F%25@"))
        store = Store(project / "runs")
        store.check()
        assert store.shown == address.replace("//", "//me:***@")
        with pytest.raises(RunError) as caught:
            give(store)  # it takes no POST
        assert "cret" not in str(caught.value)


def test_certificates_by_mlflows_rules(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "cert.pem").write_bytes(signed.public_bytes(encoding))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(encoding, plain, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with answering(lambda _: (404, ABSENT), context) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(InputError, match="certificate verify failed"):
            Store(project / "runs").check()
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "cert.pem"))
        Store(project / "runs").check()


@pytest.fixture
def cells(project: Path) -> list[Cell]:
    return cells_of(load_experiment(str(write_tiny(project))), "cpu")


def test_a_deleted_experiment_is_said_before_anything_is_computed(
    project: Path, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(project / "runs")
    give(store)
    client = mlflow.MlflowClient(store.address)
    number = client.get_experiment_by_name("tiny").experiment_id
    client.delete_experiment(number)
    monkeypatch.setattr(Cell, "compute", lambda *_: pytest.fail("computed for an experiment that takes no rows"))
    restore = rf"sqlite:///\S+ mlflow experiments restore --experiment-id {number}; or give the experiment another name"
    with pytest.raises(InputError, match=restore):
        run(cells, Workplace(project / "runs", torch.device("cpu"), 8, progress=False), store)
    with pytest.raises(InputError, match=restore):
        give(store, {**ROW, "cell": "d"})
    client.restore_experiment(number)
    store.check("tiny")


def test_the_store_is_in_the_state_folder_whatever_that_is_called(
    project: Path, own_stores_are_copies: Callable[[Tracking], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracking, "_follow_the_folder", own_stores_are_copies)
    state = project / "states" / (name := "a#b äöü 50%25 done ?x=%3F")
    store = Store(state)
    give(store)
    store.check("tiny")
    assert [path.name for path in state.parent.iterdir()] == [name]
    assert (state / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ("/dev/vda / ext4 rw 0 0\nserver:/a {project} nfs4 rw 0 0\n", "delete"),
        ("/dev/vda / ext4 rw 0 0\nserver:/a {project} nfs4 rw 0 0\n/dev/vdb {project}/runs xfs rw 0 0\n", "wal"),
        ("server:/a / nfs4 rw 0 0\n/dev/vdb {project}/run xfs rw 0 0\n", "delete"),
        ("/dev/vda / ext4 rw 0 0\n/dev/vdb {project}/runs xfs rw 0 0\nserver:/a {project}/runs nfs rw 0 0\n", "delete"),
        (None, "delete"),
    ],
)
def test_own_store_does_not_wait_for_the_disk_where_no_other_machine_has_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, mounts: str | None, expected: str
) -> None:
    """A log that is written ahead is no log between machines. Catches one on a shared file system, and mounts within others."""
    spaced = project / "with space"
    (spaced / "runs").mkdir(parents=True)
    monkeypatch.setattr(tracking, "MOUNTS", project / "mounts")
    if mounts is not None:
        tracking.MOUNTS.write_text(mounts.format(project=str(spaced).replace(" ", r"\040")))
    tracking._is_local.cache_clear()
    give(Store(spaced / "runs"))
    with closing(sqlite3.connect(spaced / "runs" / "mlflow.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == (expected,)
        assert database.execute("SELECT count(*) FROM tags WHERE key = 'cell'").fetchone() == (1,)
    tracking._is_local.cache_clear()


def test_a_state_folder_that_moves_takes_its_files_along(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow keeps absolute paths: catches files of new rows that are written to where the folder was."""
    (strip := project / "strip.png").write_bytes(b"png")
    before, after = project / "before", project / "here after"
    give(Store(before), ROW, (strip, "samples"))
    before.rename(after)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow has set it for the processes that it would start
    store = Store(after)
    give(store, {**ROW, "cell": "d"}, (strip, "samples"))
    assert not before.exists()
    client = mlflow.MlflowClient(store.address)
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert len(runs) == 3  # the sweep's, and a row's on either side of the move
    for found in runs:
        files = Path(unquote(urlsplit(found.info.artifact_uri).path))
        assert files.is_relative_to(after)
        assert found.data.tags.get("kind") != "cell" or (files / "samples" / "strip.png").exists()


def test_files_of_a_store_elsewhere_that_are_gone_are_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a database beside several state folders nobody knows to which the files belong."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/all.db")
    give(Store(project / "before"))
    (project / "before").rename(project / "after")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/all.db")
    with pytest.raises(InputError, match="before, which is not there: mount it or move it back"):
        Store(project / "after").check("tiny")
    Store(project / "after").check("another")


def test_passwords_are_not_kept(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:s3cret@127.0.0.1:9")
    journal, store = Journal(project / "journal" / "tiny-cpu"), Store(project / "runs")
    journal.write(Computed(ROW, b"png"))
    monkeypatch.setattr(Store, "sweep", lambda *_: nullcontext(SimpleNamespace(log=lambda _: "a run")))
    assert sync(journal, store, trust_marks=True) == 1
    assert journal.run_of("c" * 64, "http://me:***@127.0.0.1:9") == "a run"
    assert "s3cret" not in "".join(path.read_text() for path in journal.folder.glob("*.mlflow"))
    assert sync(journal, store, trust_marks=True) == 0


@pytest.mark.parametrize("figure_", [math.inf, -math.inf, math.nan])
def test_a_figure_that_is_not_finite_is_kept_and_said(project: Path, cells: list[Cell], figure_: float) -> None:
    """In the journal, in the CSV, in MLflow and in the table; no claim is judged by it. Catches a row that JSON refuses."""
    (cell, *_), journal, store = cells, Journal(project / "journal" / "tiny-cpu"), Store(project / "runs")
    record = {**ROW, **cell.columns, "metric.fd": 2.0, "metric.nll": figure_, "metric.nll_se": math.nan}
    journal.write(Computed(record, b"png"))
    (project / "rows.csv").write_text(csv_text([record]))
    for kept in (journal.read(cell.key), read_csv(project / "rows.csv")[0]):
        assert kept is not None
        assert repr(kept["metric.nll"]) == repr(figure_)
        assert math.isnan(kept["metric.nll_se"])
    json.loads((journal.folder / f"{cell.key}.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert sync(journal, store, trust_marks=True) == 1
    client = mlflow.MlflowClient(store.address)
    (logged,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id], "tags.kind = 'cell'")
    assert not math.isfinite(logged.data.metrics["metric.nll_se"])
    assert f"Not finite: NLL, bits/dim of {cell.title}." in str(main_tables([cell], {cell.key: record})[0])
    with pytest.raises(NotTested, match="not finite"):
        figure(record, "metric.nll")
    Image.new("L", (8, 8)).save(buffer := io.BytesIO(), "PNG")
    refresh(project / "plot.png", [record], buffer.getvalue)
    assert (project / "plot.png").exists(), "a report shows the other figures"
