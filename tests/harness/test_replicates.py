"""A row's replicates: in the journal, in results/, and back, as whole as the row's own figures."""

import shutil
from pathlib import Path

import pytest
import torch
from harness.tiny import write_tiny

from replication.cli import main
from replication.harness.experiment import load_experiment
from replication.harness.home import state
from replication.harness.jobs.cell import Cell, cells_of
from replication.harness.journal import Computed, Journal
from replication.harness.replicates import load_replicates, save_replicates
from replication.harness.store import Store
from replication.harness.sweep import journal_of, run
from replication.harness.workplace import Workplace
from replication.metrics.metric import metrics
from replication.metrics.uncertainty import Replicates, recentred
from replication.report.claims.evidence import evidence_of

Rows = tuple[list[Cell], Journal]


@pytest.fixture
def computed(finished: Path) -> Rows:
    cells = cells_of(load_experiment("tiny"), "cpu")
    return cells, journal_of(cells, finished / "runs")


def test_replicates_give_the_rows_intervals(project: Path) -> None:
    """To six digits, more than are printed. Catches float16, a metric that is left out, one that is not of the row."""
    cells = cells_of(load_experiment(str(write_tiny(project, ("resamples = 5", "resamples = 40")))), "cpu")
    place, streams = Workplace(project / "runs", torch.device("cpu"), batch_size=8, progress=False), set()
    run(cells, place, Store(place.state))
    journal = journal_of(cells, place.state)
    for cell in cells:
        record = journal.read(cell.key)
        assert record is not None
        replicates = journal.replicates(record)
        assert replicates is not None
        resampled = {metric.column for metric in metrics() if metric.interval == "resampled"}
        assert set(replicates.values) == resampled & record.keys() >= {"metric.fd", "metric.kid", "metric.precision"}
        for column, values in replicates.values.items():
            assert (values.dtype, values.shape) == (torch.float64, (40,))
            low, high, error = recentred(record[column], values)
            assert (max(low, 0), high, error) == pytest.approx(
                (max(record[f"{column}_low"], 0), record[f"{column}_high"], record[f"{column}_se"]), rel=1e-6, abs=1e-9
            )
        streams.add(replicates.stream)
    assert len(streams) == 1, "rows of one n and one reference see the same resamples"


def test_what_is_no_replicates_of_the_row_is_set_aside_with_it_and_measured_again(
    computed: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches a damaged file, one that was copied from another row, and one of another protocol, that are judged by, and a
    row that stays without."""
    cells, journal = computed
    key, path = cells[0].key, journal.replicates_path(cells[0].key)
    row, whole = journal.read(key), path.read_bytes()
    another, stream = (
        journal.replicates_path(cells[1].key).read_bytes(),
        "5 resamples of 8+8 against 359 images, seed 0, version 2",
    )
    for spoil, reason in (
        (lambda: path.write_bytes(another), "not the replicates of this row"),
        (
            lambda: save_replicates(path, {key: Replicates("s", {"metric.fd": torch.zeros(7)})}),
            "7 replicates of metric.fd",
        ),
        (
            lambda: save_replicates(path, {key: Replicates(stream, {"metric.fd": torch.zeros(5)})}),
            "n = 16 and one seed",
        ),
        (lambda: path.write_bytes(whole[:-5]), "the checkpoint is corrupt"),
    ):
        spoil()
        assert main(["claims", "tiny"]) == 0
        assert reason in capsys.readouterr().err
        assert journal.read(key) is None
        assert main(["run", "tiny", "--row", cells[0].label]) == 0
        assert path.read_bytes() == whole
        again = journal.read(key)
        assert row is not None
        assert again is not None
        assert {k: v for k, v in again.items() if k != "timing.peak_memory_bytes"} == {
            k: v for k, v in row.items() if k != "timing.peak_memory_bytes"
        }
    path.unlink()
    assert journal.replicates(again) is None
    assert main(["claims", "tiny"]) == 0


def test_a_row_that_is_written_without_replicates_has_none(computed: Rows) -> None:
    """Catches the replicates of what was measured before, which stay beside a row that was measured otherwise."""
    cells, journal = computed
    record = journal.read(cells[0].key)
    assert record is not None
    journal.write(Computed(record, b"", None))
    assert journal.replicates(record) is None


def test_committed_replicates_are_read_like_the_journals(project: Path, computed: Rows) -> None:
    """One file, the same bytes from either source. Catches replicates lost with runs/, and files that change by themselves."""
    cells, journal = computed
    results, experiment = project / "results", load_experiment("tiny")
    assert main(["report", "tiny"]) == 0
    (file,) = results.glob("*.safetensors")
    assert file.name == "tiny-cpu-replicates.safetensors"
    before, own = file.read_bytes(), evidence_of(experiment, "cpu", state(), results).replicates
    assert set(own) == {cell.key for cell in cells} == set(load_replicates(file))
    shutil.rmtree(journal.folder)
    committed = evidence_of(experiment, "cpu", state(), results).replicates
    assert main(["report", "tiny"]) == 0
    assert file.read_bytes() == before
    for key, replicates in own.items():
        assert committed[key].stream == replicates.stream
        assert list(committed[key].values) == list(replicates.values)
        assert all(torch.equal(committed[key].values[c], values) for c, values in replicates.values.items())
    file.unlink()
    assert evidence_of(experiment, "cpu", state(), results).replicates == {}
