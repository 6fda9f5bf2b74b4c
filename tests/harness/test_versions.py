"""Rows of earlier versions: found, shown with what changed, and measured again from their samples, which nobody draws twice."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from harness.tiny import write_tiny
from harness.tiny_latent import write_tiny_latent
from torch import Tensor

import replication.sampling.generation as generation
from replication.cli import main
from replication.diffusion import sampling
from replication.harness import drawn
from replication.harness.experiment import load_experiment
from replication.harness.job import Job, jobs_of, rows_among
from replication.harness.jobs import cell as cell_module
from replication.harness.journal import Journal, Record, unsealed
from replication.harness.store import Store
from replication.harness.sweep import journal_of, measure_again, run
from replication.harness.versions import metric_of
from replication.harness.workplace import Workplace
from replication.metrics import Metric, timing, uncertainty
from replication.metrics.frechet import FD, FDInfinity
from replication.metrics.metric import Measurement, metric_named, metrics
from replication.metrics.without_reference import NLL
from replication.registry import METRICS
from replication.report.rows import csv_text, read_csv
from replication.types import RunError

OF_SAMPLING = ("checkpoint.", "sampling.", "cost.", "timing.", "env.")


def tiny(project: Path) -> list[Job]:
    """The jobs of the tiny experiment, under the versions that are set now."""
    return jobs_of(load_experiment(str(write_tiny(project))), "cpu")


def place(project: Path) -> Workplace:
    return Workplace(project / "runs", torch.device("cpu"), batch_size=8, progress=False)


def run_all(project: Path) -> dict[str, Record]:
    """The rows of a run, by title."""
    run(tiny(project), place(project), Store(project / "runs"))
    return rows_in(project)


def rows_in(project: Path) -> dict[str, Record]:
    jobs = tiny(project)
    found = {job.title: journal_of(jobs, project / "runs").read(job.key) for job in jobs}
    return {title: record for title, record in found.items() if record is not None}


@pytest.fixture
def before(finished: Path) -> dict[str, Record]:
    """The rows of a run that is over."""
    return rows_in(finished)


def states(capsys: pytest.CaptureFixture[str], experiment: str = "tiny") -> list[str]:
    """The last column of `replicate plan`, for each cell."""
    capsys.readouterr()
    assert main(["plan", experiment]) == 0
    table = capsys.readouterr().out.partition("\n\n")[0]
    return [line.split("|")[-2].strip() for line in table.splitlines()[2:]]


def forbid(patch: pytest.MonkeyPatch, loading: bool = True) -> None:
    """From now on a sampler's step fails the test, and so does a model that is loaded."""
    patch.setattr(generation, "sample", lambda *_, **__: pytest.fail("an image was drawn"))
    if loading:
        patch.setattr(Workplace, "model", lambda *_, **__: pytest.fail("a model was loaded"))


def as_before_versions(jobs: list[Job], journal: Journal) -> None:
    """The journal as the code wrote it that knew no versions: the setting was the key, and there were no replicates."""
    for job in jobs:
        path = journal.folder / f"{job.key}.json"
        row = unsealed(path.read_bytes())
        added = ("version.", "measured.", "setting", "protocol.features", "protocol.reference_n")
        row = {**{c: v for c, v in row.items() if not c.startswith(added)}, "cell": job.setting}
        path.unlink()
        (journal.folder / f"{job.setting}.json").write_text(json.dumps(row))
        journal.strip_path(job.key).rename(journal.strip_path(job.setting))
        journal.replicates_path(job.key).unlink()


def of_sampling(record: Record) -> Record:
    return {column: value for column, value in record.items() if column.startswith(OF_SAMPLING)}


def of_metrics(record: Record) -> Record:
    return {column: value for column, value in record.items() if column.startswith("metric.")}


def test_a_changed_metric_is_measured_again_without_sampling(
    project: Path, before: dict[str, Record], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """FD of version 9, doubled. Catches "done already" with the old figure, images drawn again, a model that is loaded, and
    times, costs or a bound that are lost or measured anew."""
    assert states(capsys) == ["done"] * 3
    real = FD.compute

    def doubled(self: FD, *parts: object) -> Measurement:
        columns = real(self, *parts).columns  # type: ignore[arg-type]
        return Measurement({name: 2 * value for name, value in columns.items()})

    monkeypatch.setattr(FD, "compute", doubled)
    assert states(capsys) == ["done"] * 3, "nobody can know of a change without a version"
    monkeypatch.setattr(FD, "version", 9)
    assert states(capsys) == ["stale: fd 1 -> 9"] * 3
    forbid(monkeypatch)
    after = run_all(project)
    assert states(capsys) == ["done"] * 3
    for title, row in after.items():
        assert row["metric.fd"] == 2 * before[title]["metric.fd"]
        assert {c for c in row if row[c] != before[title].get(c)} == {
            "cell", "version.fd", *(f"metric.fd{end}" for end in ("", "_low", "_high", "_se", "_min", "_max"))
        }  # fmt: skip
        assert of_sampling(row) == of_sampling(before[title])
    assert after["DDPM x 4"]["metric.nll"] == before["DDPM x 4"]["metric.nll"]
    assert len({row["cell"] for rows in (before, after) for row in rows.values()}) == 6


def test_other_images_are_drawn_again(
    project: Path, before: dict[str, Record], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches samples of an earlier loop that are measured as if they were today's, and old ones that are overwritten."""
    chunks = {path: path.read_bytes() for path in (project / "runs" / "samples").rglob("*.safetensors")}
    monkeypatch.setattr(sampling, "VERSION", 2)
    assert states(capsys) == ["stale: sampling 1 -> 2 (drawn again)"] * 3
    jobs = tiny(project)
    assert measure_again(jobs, place(project), Store(project / "runs")) == jobs
    after = run_all(project)
    assert {path for path in chunks if path.read_bytes() == chunks[path]} == set(chunks)
    assert len(list((project / "runs" / "samples").rglob("*.safetensors"))) == 2 * len(chunks)
    for title, row in after.items():
        assert of_metrics(row) == of_metrics(before[title]), "the loop was not changed, only its number"


def test_a_journal_from_before_versions_is_measured_again(
    project: Path, before: dict[str, Record], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its rows count as version 1 of all that they hold. Catches hours of images drawn again, and rows that are lost."""
    jobs = tiny(project)
    journal = journal_of(jobs, project / "runs")
    as_before_versions(jobs, journal)
    changed = f"interval 1 -> {uncertainty.VERSION}"
    assert all(state.startswith("stale: ") and changed in state for state in states(capsys))
    assert main(["report", "tiny"]) == 0
    table, _, claims = (project / "results" / "tiny-cpu.md").read_text().partition("\n## ")[0].partition("**Claim")
    assert table.count("‡") == 4, "three lines, and the one that explains"
    assert "‡ (of earlier versions: " in claims
    assert f"‡ of earlier versions ({changed}" in table
    assert (project / "results" / "tiny-cpu-samples.png").exists()

    # DDPM x 4 lost its chunks: it alone has to be drawn
    shutil.rmtree(project / "runs" / "samples" / jobs[0].sample_key)  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        forbid(patch)
        assert measure_again(jobs, place(project), Store(project / "runs")) == jobs[:1]
    after = run_all(project)
    assert states(capsys) == ["done"] * 3
    for job in jobs:
        row = after[job.title]
        assert of_metrics(row) == of_metrics(before[job.title])
        assert (of_sampling(row) == of_sampling(before[job.title])) == (job != jobs[0])
        assert row["setting"] == job.setting
        assert row["measured.commit"]
        assert journal.replicates(row) is not None


def test_an_old_table_is_shown_marked_and_not_lost(
    project: Path, before: dict[str, Record], capsys: pytest.CaptureFixture[str]
) -> None:
    """The CSV of a table from before versions, with no journal. Catches "not run" for a committed row, and one without mark."""
    jobs = tiny(project)
    as_before_versions(jobs, journal_of(jobs, project / "runs"))
    assert main(["report", "tiny"]) == 0
    results = project / "results"
    before = (results / "tiny-cpu.md").read_text(), (results / "tiny-cpu.csv").read_bytes()
    shutil.rmtree(project / "runs" / "journal")
    assert main(["report", "tiny"]) == 0
    assert ((results / "tiny-cpu.md").read_text(), (results / "tiny-cpu.csv").read_bytes()) == before
    assert before[0].partition("**Claim")[0].count("‡") == 4
    assert "‡ of earlier versions" in (results / "index.html").read_text()
    assert "of earlier versions" in (results / "tiny-cpu.tex").read_text()
    assert main(["claims", "tiny"]) == 0
    # half of the table is measured anew: the two are never beside each other without a mark
    first, *others = read_csv(results / "tiny-cpu.csv")
    (results / "tiny-cpu.csv").write_text(csv_text([{**first, **jobs[0].columns}, *others]))
    assert main(["report", "tiny"]) == 0
    lines = (results / "tiny-cpu.md").read_text().splitlines()
    assert [("‡" in line) for line in lines if line.startswith(("| DDPM", "| DDIM", "| sigma-hat"))][:3] == [
        False, True, True
    ]  # fmt: skip


def test_a_run_that_was_killed_before_measuring_goes_on_with_its_samples(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches images that are drawn again because their row had not been written."""
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise RunError("killed")

        patch.setattr(cell_module, "measured", killed)
        with pytest.raises(RunError, match="killed"):
            run_all(project)
    jobs = tiny(project)
    assert journal_of(jobs, project / "runs").done() == []
    forbid(monkeypatch, loading=False)
    run(jobs[:1], place(project), Store(project / "runs"))
    assert len(journal_of(jobs, project / "runs").done()) == 1


def test_the_bound_is_evaluated_again_where_it_changed(
    project: Path, before: dict[str, Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs the model, and images are not drawn. Catches an old bound under a new version, and one that draws images."""
    monkeypatch.setattr(NLL, "version", 2)
    forbid(monkeypatch, loading=False)
    evaluated = []
    real = cell_module.bits_of

    def counted(*parts: object) -> Tensor:
        evaluated.append(parts)
        return real(*parts)  # type: ignore[arg-type]

    monkeypatch.setattr(cell_module, "bits_of", counted)
    after = run_all(project)
    assert len(evaluated) == 1
    assert [title for title in after if after[title]["cell"] != before[title]["cell"]] == ["DDPM x 4"]
    assert of_metrics(after["DDPM x 4"]) == of_metrics(before["DDPM x 4"])
    shutil.rmtree(project / "runs" / "checkpoints")
    monkeypatch.setattr(NLL, "version", 3)
    (job,) = measure_again(tiny(project), place(project), Store(project / "runs"))
    assert job.title == "DDPM x 4", "its model is not there, and measuring trains none"


def test_a_row_of_the_earlier_rule_for_times_gets_todays_from_its_chunks(
    project: Path, before: dict[str, Record], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On whatever machine it is measured again: times are those of the device that drew the row. What no chunk tells stays as
    it was. Catches a smallest-to-largest interval under today's version, times that another machine loses, old costs."""
    jobs = tiny(project)
    journal = journal_of(jobs, project / "runs")
    for job in jobs:
        row = journal.read(job.key)
        assert row is not None
        wrong = {"timing.seconds_low": 1e-9, "timing.seconds_high": 9.0, "cost.parameters": 1, "cell": job.setting}
        (journal.folder / f"{job.key}.json").unlink()
        (journal.folder / f"{job.setting}.json").write_text(
            json.dumps({c: v for c, v in (row | wrong).items() if c != "version.timing"})
        )
    assert states(capsys) == [f"stale: timing 1 -> {timing.VERSION}"] * 3
    forbid(monkeypatch)
    monkeypatch.setattr(drawn, "device_name", lambda _: "another processor")
    after = run_all(project)
    assert states(capsys) == ["done"] * 3
    for title, row in after.items():
        assert of_sampling(row) == of_sampling(before[title])
        assert row["version.timing"] == timing.VERSION


def test_a_metric_that_gave_no_figure_is_lacking_and_never_stale(
    project: Path, before: dict[str, Record], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """FD-infinity of sixteen images. Catches rows called stale for a figure that they do not have, "done, without" for ever,
    and a figure that a later version gives and that no row ever gets."""
    assert not any("metric.fd_infinity" in row for row in before.values())
    monkeypatch.setattr(FDInfinity, "version", 9)
    assert states(capsys) == ["done, without fd_infinity"] * 3
    forbid(monkeypatch)
    monkeypatch.setattr(FDInfinity, "compute", lambda *_: Measurement({"fd_infinity": 1.5}))
    jobs = tiny(project)
    assert measure_again(jobs, place(project), Store(project / "runs")) == []
    assert states(capsys) == ["done"] * 3
    rows = rows_among(jobs, journal_of(jobs, project / "runs").rows())
    assert {(row["version.fd_infinity"], row["metric.fd_infinity"]) for row in rows.values()} == {(9, 1.5)}


class Brightness(Metric):
    """The mean of the first feature."""

    name, label, direction, needs, interval = "brightness", "Brightness", "higher", ("samples",), "none"

    def compute(self, material: object, samples: list[Tensor]) -> Measurement:
        return Measurement({"brightness": float(samples[0][:, 0].mean())})


@pytest.fixture
def forgotten() -> Iterator[None]:
    yield
    for known in (metrics, metric_named):
        known.cache_clear()


@pytest.mark.usefixtures("forgotten")
def test_a_metric_that_is_added_appears_in_old_rows_by_measuring(
    project: Path, before: dict[str, Record], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At version 1, from another package. Catches a key that it changes, and rows that never get it."""
    METRICS.register("brightness")(Brightness)
    metrics.cache_clear()
    jobs = tiny(project)
    assert {job.key for job in jobs} == {row["cell"] for row in before.values()}
    assert states(capsys) == ["done, without brightness"] * 3
    forbid(monkeypatch)
    run(jobs, place(project), Store(project / "runs"))
    assert states(capsys) == ["done, without brightness"] * 3
    store = Store(project / "runs")
    assert measure_again(jobs, place(project), store) == []
    assert states(capsys) == ["done"] * 3
    journal = journal_of(jobs, project / "runs")
    for job in jobs:
        row = journal.read(job.key)
        assert row is not None
        added = {"metric.brightness", "version.brightness"}
        assert {c: v for c, v in row.items() if c not in added} == before[job.title]
        assert row["version.brightness"] == 1
        assert journal.run_of(job.key, store.shown), "MLflow has the row as it is now"
    assert measure_again(jobs, place(project), store) == []


@pytest.mark.usefixtures("forgotten")
def test_keys_are_those_of_a_machine_without_the_package(
    project: Path, before: dict[str, Record], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A metric of another package at version 3, then 4: it is measured, and measured again, under the same keys.

    Catches two machines that do not find each other's rows, and a changed metric that no key tells of and that stays."""
    monkeypatch.setattr(Brightness, "version", 3)
    METRICS.register("brightness")(Brightness)
    metrics.cache_clear()
    forbid(monkeypatch)
    assert measure_again(tiny(project), place(project), Store(project / "runs")) == []
    monkeypatch.setattr(Brightness, "version", 4)
    assert states(capsys) == ["stale: brightness 3 -> 4"] * 3
    after = run_all(project)
    assert states(capsys) == ["done"] * 3
    assert {row["version.brightness"] for row in after.values()} == {4}
    assert [row["cell"] for row in after.values()] == [row["cell"] for row in before.values()]


def test_a_first_stage_is_measured_again_from_its_own_weights(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches an rFD of an earlier version that is shown as today's, and a first stage that is trained for it."""
    experiment = load_experiment(str(write_tiny_latent(project)))
    where, store = Workplace(project / "runs", torch.device("cpu"), 10, progress=False), Store(project / "runs")

    def stages() -> list[Job]:
        return [job for job in jobs_of(experiment, "cpu") if job.label == "small"]

    run(stages(), where, store)
    before = stages()[0].key
    monkeypatch.setattr(FD, "version", 9)
    (stage,) = stages()
    monkeypatch.setattr(
        "replication.harness.workplace.train_first_stage", lambda *_, **__: pytest.fail("trained again")
    )
    assert measure_again([stage], where, store) == []
    row = journal_of([stage], where.state).read(stage.key)
    assert row is not None
    assert (row["version.fd"], stage.key != before) == (9, True)
    shutil.rmtree(project / "runs" / "first-stages")
    monkeypatch.setattr(FD, "version", 10)
    assert [job.label for job in measure_again(stages(), where, store)] == ["small"]


def test_a_version_counts_for_the_jobs_that_it_has_a_part_in(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches unguided rows that a version of guidance makes stale, rows without a bound that one of the bound does."""
    before = [job.key for job in tiny(project)]
    monkeypatch.setattr("replication.diffusion.guidance.VERSION", 2)
    assert [job.key for job in tiny(project)] == before
    monkeypatch.setattr(NLL, "version", 2)
    assert [job.key == key for job, key in zip(tiny(project), before, strict=True)] == [False, True, True]
    assert [metric_of(c) for c in ("metric.fd_min", "metric.fd_infinity_se", "metric.is", "timing.chunks")] == [
        "fd", "fd_infinity", "is", None
    ]  # fmt: skip
