"""A whole run: rows, journal, MLflow; nothing computed twice, nothing lost."""

import errno
import json
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import mlflow
import pytest
import torch
from harness.tiny import write_tiny
from torch import Tensor

from replication.deadline import Deadline, OutOfTime
from replication.files import Unwritable, locked
from replication.harness.computing import Computes, Computing
from replication.harness.experiment import load_experiment
from replication.harness.job import Job
from replication.harness.jobs.cell import Cell, cells_of
from replication.harness.journal import Computed, Failure, Record
from replication.harness.store import Store, Sweep, sync
from replication.harness.sweep import _Sweep, journal_of, run
from replication.harness.workplace import Workplace
from replication.noise import ImageNoise
from replication.sampling.chunks import SampleSet, chunks_in
from replication.sampling.generation import Sampling, Source
from replication.training.recipe import Recipe
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


class NoStore(Store):
    """One that takes everything, for what is not about MLflow, which takes seconds to begin."""

    installed = False


def rows_there(cells: list[Cell], place: Workplace) -> list[bool]:
    journal = journal_of(cells, place.state)
    return [journal.read(cell.key) is not None for cell in cells]


@pytest.mark.parametrize(
    ("error", "reason", "traced"),
    [
        (RunError("out of luck"), "out of luck", False),
        (InputError("a wrong file"), "a wrong file", False),
        (RuntimeError("CUDA error: an illegal memory access\nand more"), "RuntimeError: CUDA error: an illegal", True),
    ],
)
def test_a_failing_cell_is_kept_with_its_reason_and_the_sweep_goes_on(
    error: Exception, reason: str, traced: bool, cells: list[Cell], place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a sweep that ends with the first failure, an error nobody foresaw that leaves no trace, and a failure that
    outlives its cause."""
    real = Cell.compute

    def second_fails(cell: Cell, where: Workplace) -> Computed:
        if cell.key == cells[1].key:
            raise error
        return real(cell, where)

    with monkeypatch.context() as patched:
        patched.setattr(Cell, "compute", second_fails)
        with pytest.raises(RunError, match=rf"1 of 3 rows failed; .* again:\n  DDIM x 2: {reason}"):
            run(cells, place, NoStore(place.state))
    journal = journal_of(cells, place.state)
    assert rows_there(cells, place) == [True, False, True]
    assert [journal.failure(cell.key) is not None for cell in cells] == [False, True, False]
    failure = journal.failure(cells[1].key)
    assert failure is not None
    assert failure.reason.startswith(reason)
    assert ("second_fails" in failure.trace) == traced
    run(cells, place, NoStore(place.state))
    assert rows_there(cells, place) == [True, True, True]
    assert journal.failure(cells[1].key) is None


def test_a_training_that_failed_fails_its_rows_and_is_not_tried_for_each(
    cells: list[Cell], place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches days of training that diverge once for every row."""
    tried: list[str] = []

    def diverging(recipe: Recipe, **_: object) -> Path:
        tried.append(recipe.key)
        raise RunError("training diverged at step 2: the loss is nan")

    with monkeypatch.context() as patched:
        patched.setattr("replication.harness.workplace.train", diverging)
        with pytest.raises(RunError, match=r"3 of 3 rows failed(.*\n)*.*sigma-hat x 2: .*the loss is nan"):
            run(cells, place, NoStore(place.state))
    assert len(tried) == 1
    run(cells, place, NoStore(place.state))
    assert rows_there(cells, place) == [True, True, True]


def test_images_that_are_not_finite_fail_their_cell_alone(
    cells: list[Cell], place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Source.x0

    def spoilt(source: Source, sampling: Sampling, *inputs: Any) -> Tensor:
        x0 = real(source, sampling, *inputs)
        return x0 * math.nan if str(sampling.sampler).startswith("ddim") else x0

    monkeypatch.setattr(Source, "x0", spoilt)
    with pytest.raises(RunError, match=r"1 of 3 rows failed.*\n.*NaN or infinity in images 0 to 7"):
        run(cells, place, NoStore(place.state))
    assert rows_there(cells, place) == [True, False, True]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_out_of_memory_halves_the_batch_which_is_said_and_recorded(
    error: Exception,
    cells: list[Cell],
    place: Workplace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Same images. Catches a sweep that ends, and rows that state the batch size of the profile."""
    run(cells, replace(place, state=place.state / "roomy"), NoStore(place.state / "roomy"))
    real = Source.x0

    def short(source: Source, sampling: Sampling, noise: ImageNoise, *cond: Any) -> Tensor:
        if len(noise.indices) > 2:
            raise error
        return real(source, sampling, noise, *cond)

    monkeypatch.setattr(Source, "x0", short)
    run(cells, place, NoStore(place.state))
    printed = capsys.readouterr().out
    for before, after in ((8, 4), (4, 2)):
        assert printed.count(f"DDPM x 4: out of memory in batches of {before}; going on in batches of {after}") == 1
    assert printed.count("out of memory") == 2  # what was found is kept for the next rows
    for cell in cells:
        row = journal_of(cells, place.state).read(cell.key)
        assert row is not None
        assert row["timing.batch_size"] == 2
        sets = [
            SampleSet(chunks_in(cell.sample_place(0, where).folder), 16, "").images.int()
            for where in (place, replace(place, state=place.state / "roomy"))
        ]
        assert (sets[0] - sets[1]).abs().max() <= 1

    def never(*_: object) -> None:
        raise error

    monkeypatch.setattr(Source, "x0", never)
    alone = replace(place, state=place.state / "none")
    with pytest.raises(RunError, match=r"3 of 3 rows failed(.*\n)*.*out of memory, even in batches of one image"):
        run(cells, alone, NoStore(alone.state))


def test_out_of_memory_in_training_says_what_helps(
    cells: list[Cell], place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch of a training is a part of what it is. Catches batches of images that are halved for it."""
    monkeypatch.setattr("replication.harness.workplace.train", Mock(side_effect=torch.OutOfMemoryError("CUDA out")))
    with pytest.raises(RunError, match=r"training [0-9a-f]{12}: CUDA out; recipe\.training\.accumulate sends"):
        run(cells[:1], place, NoStore(place.state))


def test_a_full_disk_ends_the_sweep_at_once(
    cells: list[Cell], place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row could be kept. Catches images of every other cell that are drawn for nothing; the same command goes on."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    begun: list[Cell] = []
    real = Cell.compute
    monkeypatch.setattr(Cell, "compute", lambda cell, where: [begun.append(cell), real(cell, where)][1])
    with monkeypatch.context() as patched:
        patched.setattr("replication.files.os.fsync", Mock(side_effect=full))
        with pytest.raises(Unwritable, match=r"cannot write .*No space left on device"):
            run(cells, place, NoStore(place.state))
    assert len(begun) == 1
    assert list(place.state.rglob("*.partial")) == []
    run(cells, place, NoStore(place.state))
    assert rows_there(cells, place) == [True, True, True]


def test_damaged_files_are_set_aside_and_computed_again(
    cells: list[Cell], place: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows, chunks, a snapshot, a curve; the figures are the same. Catches a dead end, a file that is lost, and a flipped bit
    that stays: in a row's figure, in an image, in a weight."""
    run(cells, place, NoStore(place.state))
    journal, state = journal_of(cells, place.state), place.state
    figures = [measured_in(journal.read(cell.key)) for cell in cells]
    spoilt = [journal.folder / f"{cell.key}.json" for cell in cells]
    spoilt += [next((state / "samples").rglob("*.safetensors"))]
    for path, content in zip(spoilt, ("{", "[]", json.dumps({"cell": "another"}), "x"), strict=True):
        path.write_text(content)
    chunk = next(path for path in (state / "samples").rglob("*.safetensors") if path not in spoilt)
    chunk.write_bytes(chunk.read_bytes()[:-1] + bytes([chunk.read_bytes()[-1] ^ 1]))  # which no header shows
    (journal.folder / "curves").mkdir(exist_ok=True)
    (journal.folder / "curves" / f"{'0' * 64}.json").write_text("{")
    run(cells, place, NoStore(state))
    assert [measured_in(journal.read(cell.key)) for cell in cells] == figures
    error = capsys.readouterr().err
    for path in [*spoilt, chunk]:
        assert error.count(f"{path}: damaged (") == 1
        assert path.with_name(f"{path.name}.damaged").exists()
    assert journal.curves() == {}
    assert "not a curve" in capsys.readouterr().err
    (snapshot,) = (state / "checkpoints").iterdir()
    whole = snapshot.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    at = 8 + length + next(of["data_offsets"][0] for name, of in header.items() if name.startswith("ema."))
    for content in (b"x", whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
        snapshot.write_bytes(content)
        spoilt[0].write_bytes(spoilt[0].read_bytes().replace(b'"metric.fd": ', b'"metric.fd": 1'))
        for path in spoilt[1:3]:
            path.unlink()
        run(cells, replace(place, _held={}), NoStore(state))
        error = capsys.readouterr().err
        assert f"{snapshot}: damaged (" in error
        assert f"{spoilt[0]}: damaged (not a row: its content is not what was written" in error
        assert [measured_in(journal.read(cell.key)) for cell in cells] == figures


def test_given_weights_that_are_damaged_are_not_trained(cells: list[Cell], place: Workplace) -> None:
    """Catches weights from elsewhere that a training of this machine takes the place of."""
    recipe = cells[0].recipe
    network = recipe.build_network()
    path = place.snapshots(recipe).give(network.state_dict(), network, recipe.training.steps, "0" * 64, {})
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(RunError, match=r"3 of 3 rows failed(.|\n)*these weights were given, and are damaged"):
        run(cells, place, NoStore(place.state))
    assert [path.name for path in path.parent.iterdir()] == [path.name]


def measured_in(row: Record | None) -> dict[str, Any]:
    return {column: value for column, value in (row or {}).items() if column.startswith("metric.")}


def test_a_held_cell_is_passed_over_helped_with_and_taken_when_its_holder_dies(
    cells: list[Cell], place: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first is held until the others have their rows and its images are drawn. Catches a wait for it, images that nobody
    draws meanwhile, and a cell that is left out for good."""
    held = ExitStack()
    held.enter_context(locked(place.state / "locks" / cells[0].key, "a test"))

    def dies(seconds: float) -> None:
        assert rows_there(cells, place) == [False, True, True]
        assert len(list(cells[0].sample_place(0, place).folder.glob("*.safetensors"))) == 2
        held.close()

    monkeypatch.setattr("replication.harness.sweep.time.sleep", dies)
    run(cells, place, NoStore(place.state))
    assert rows_there(cells, place) == [True, True, True]
    assert capsys.readouterr().out.count("DDPM x 4: another process works on DDPM x 4; it is come back to") == 1


def test_a_held_cell_ends_with_the_budget(cells: list[Cell], place: Workplace) -> None:
    soon = replace(place, deadline=Deadline.within(-1.0))
    with locked(place.state / "locks" / cells[0].key, "a test"), pytest.raises(OutOfTime, match="no time for 1 of 1"):
        run(cells[:1], soon, NoStore(place.state))


def test_nothing_is_begun_when_the_time_is_over(
    cells: list[Cell], place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches rows whose evaluations are timed, one row after the other, to find that there is no time for them."""
    run(cells[:1], place, NoStore(place.state))  # the training
    monkeypatch.setattr(Cell, "compute", Mock(side_effect=AssertionError("begun")))
    with pytest.raises(OutOfTime, match=r"no time for 2 of 2 rows; the first of them: .*: the time is over"):
        run(cells[1:3], replace(place, deadline=Deadline.within(0.0)), NoStore(place.state))


def test_the_bound_counts_to_what_a_row_takes(
    cells: list[Cell], place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 images of 4 steps and 4 images of the bound's T = 20 steps, at 1 s each, and 10 s to measure them."""
    run(cells[2:], place, NoStore(place.state))  # the training
    monkeypatch.setattr(Source, "floor", lambda *_: 1.0)
    with pytest.raises(OutOfTime, match=r"it takes about 154 s, and (100|99) s are left"):
        cells[0].compute(replace(place, deadline=Deadline.within(100.0)))


def test_a_row_that_another_of_the_team_finishes_is_not_late(cells: list[Cell], place: Workplace) -> None:
    """The time is over: who is idle puts the row off that the other one is at. Catches no time for a row that is there."""
    begun, looked = threading.Event(), threading.Event()

    class Over(Deadline):
        def left(self) -> float:
            if not begun.is_set():
                return 1.0
            looked.set()
            return -1.0

    class Begun(Computing):
        def compute(self, job: Job, earlier: Record | None) -> Computed:
            begun.set()
            assert looked.wait(60)
            return job.compute(replace(self.place, deadline=Deadline()))

        def help(self, job: Job) -> bool:
            return False

    late = replace(place, deadline=Over())
    run(cells[:1], late, NoStore(place.state), workers=lambda _, at: nullcontext([Begun(at), Begun(at)]))
    assert rows_there(cells, place) == [True, False, False]


def test_what_another_process_fails_at_meanwhile_is_not_tried_again(
    cells: list[Cell], place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches four processes that diverge one after the other."""
    journal = journal_of(cells, place.state)
    journal.write_failure(cells[0].key, Failure(cells[0].title, "of another run", "", 0.0))
    journal.write_failure(cells[1].key, Failure(cells[1].title, "of this time", "", time.time() + 3600))
    monkeypatch.setattr(Cell, "compute", Mock(side_effect=RunError("here")))
    with pytest.raises(RunError, match=r"2 of 2 rows failed.*:\n  DDPM x 4: here\n  DDIM x 2: of this time"):
        run(cells[:2], place, NoStore(place.state))


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


@pytest.mark.parametrize(("waiting", "helped_first"), [(1.0, True), (40.0, False)])
def test_the_longest_row_is_shared_out_before_short_ones_are_begun(waiting: float, helped_first: bool) -> None:
    """Exact: a row of 10 s that another one is at, beside three that nobody has begun. Catches: two processes of which one waits
    for the other's last batch of a thousand steps; and one that helps though there is enough to do for itself."""
    jobs: list[Any] = [SimpleNamespace(key=key) for key in ("long", "a", "b", "c")]
    did: list[str] = []

    class Swept(_Sweep):
        def _passed(self, job: Job, one: Computes) -> bool:
            if job.key != "long":
                did.append(job.key)
            return True

    ahead: Any = SimpleNamespace(left={"long": 10.0, "a": waiting, "b": waiting, "c": waiting}, together=2)
    nobody: Any = None
    in_time: Any = SimpleNamespace(deadline=Deadline())
    sweep = Swept(nobody, {}, nobody, ahead, in_time)
    sweep._ours.add("long")
    one: Any = SimpleNamespace(help=lambda job: did.append(f"helps with {job.key}"))
    sweep._computed_by(one, jobs)
    assert did == ["helps with long"] * helped_first + ["a", "b", "c"]
