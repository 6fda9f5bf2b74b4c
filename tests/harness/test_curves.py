"""How a training went: kept in its snapshot, in the journal, as one MLflow run, and in a picture of the report."""

import math
import time
from pathlib import Path
from unittest.mock import Mock

import mlflow
import pytest
import torch
from harness.tiny import write_tiny

import replication.training.loop
from replication.cli import main
from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.harness.journal import Journal, unsealed
from replication.harness.store import Store
from replication.harness.sweep import journal_of, run
from replication.harness.workplace import Workplace
from replication.metrics.machine import MACHINE, Machine
from replication.training.loop import CURVE, Step, _whole, curve_in
from replication.training.train import NetworkState
from replication.types import RunError


def test_a_curve_is_one_run_of_mlflow_and_a_picture(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact. Catches steps that MLflow is not given, a run for every call, a picture that is lost or changes with the
    hour, and a curve among the rows."""
    monkeypatch.setattr(replication.training.loop, "WATCH_STEPS", 1)
    cells = cells_of(load_experiment(str(write_tiny(project))), "cpu")
    place, store = Workplace(project / "runs", torch.device("cpu"), 8, progress=False), Store(project / "runs")
    for _ in range(2):
        run(cells, place, store)
    journal, steps = journal_of(cells, place.state), list(range(1, cells[0].recipe.training.steps + 1))
    (curve,) = journal.curves().values()
    assert (curve["step"], curve["title"], curve["dataset"]) == (steps, cells[0].label, "digits")
    assert curve["identity"]["training"]["learning_rate"] == 1e-3
    assert len(curve["memory_megabytes"]) == len(steps)
    assert len(journal.done()) == len(cells)
    client = mlflow.MlflowClient(store.address)
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    (training,) = [one for one in found if "training" in one.data.tags]
    for column in ("loss", "learning_rate", "gradient_norm", "images_per_second"):
        history = client.get_metric_history(training.info.run_id, column)
        assert [(metric.step, metric.value) for metric in history] == list(zip(steps, curve[column], strict=True))
    pictures = []
    for _ in range(2):
        assert main(["report", "tiny"]) == 0
        pictures.append((project / "results" / "tiny-cpu-training.png").read_bytes())
    assert pictures[0] == pictures[1]
    assert "tiny-cpu-training.png" in (project / "results" / "tiny-cpu.md").read_text()
    journal.write_curve({**curve, "step": steps[:1]})
    assert journal.curves() == {f"curves/{curve['training']}": curve}
    journal.write_curve({**curve, "step": [*steps, 99]})
    assert journal.run_of(f"curves/{curve['training']}", store.shown) is None


def test_of_the_curves_there_are_only_its_own_is_read_for_one_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is as long stays, a damaged one is replaced. Catches: an import that reads all for each that it takes in."""
    read = Mock(wraps=unsealed)
    monkeypatch.setattr("replication.harness.journal.unsealed", read)
    journal = Journal(tmp_path)
    for digit in "abc":
        journal.write_curve({"training": digit * 64, "title": "a training", "step": [1, 2]})
    assert read.call_count == 0
    journal.write_curve({"training": "a" * 64, "title": "another", "step": [2]})
    (tmp_path / "curves" / f"{'b' * 64}.json").write_text("{}")
    journal.write_curve({"training": "b" * 64, "title": "another", "step": [2]})
    assert read.call_count == 2
    assert [curve["title"] for curve in journal.curves().values()] == ["a training", "another", "a training"]


def test_the_curve_of_a_training_that_failed_is_kept(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches the one curve lost that somebody wants to see."""
    monkeypatch.setattr(replication.training.loop, "WATCH_STEPS", 1)
    cells = cells_of(load_experiment(str(write_tiny(project))), "cpu")
    place, original = Workplace(project / "runs", torch.device("cpu"), 8, progress=False), NetworkState.watch

    def diverging(self: NetworkState, step: Step) -> str | None:
        return original(self, step) if self.step < self.settings.steps else "it has diverged"

    monkeypatch.setattr(NetworkState, "watch", diverging)
    train_to_the_end = replication.training.loop.train_to_the_end
    what, milestones, progress, _, *others = train_to_the_end.__defaults__ or ()
    monkeypatch.setattr(train_to_the_end, "__defaults__", (what, milestones, progress, 0.0, *others))
    with pytest.raises(RunError, match="it has diverged"):
        run(cells, place, Store(project / "runs"))
    (curve,) = journal_of(cells, place.state).curves().values()
    assert curve["step"] == list(range(1, cells[0].recipe.training.steps))


def test_a_long_curve_is_thinned_evenly(tmp_path: Path) -> None:
    """Exact. Catches a picture and a store that take minutes for millions of steps; what was given has no curve."""
    from replication.checkpoint import save_checkpoint

    save_checkpoint(tmp_path / "long", {"curve": torch.arange(2500.0)[:, None].expand(-1, len(CURVE))}, {})
    assert curve_in(tmp_path / "long")["loss"] == list(range(0, 2500, 3))
    save_checkpoint(tmp_path / "given", {"ema.w": torch.zeros(1)}, {})
    assert curve_in(tmp_path / "given")["step"] == []


def test_the_machine_is_read_and_what_earlier_snapshots_do_not_say_is_left_out(tmp_path: Path) -> None:
    """Catches: a share of another time than that between two readings, and a snapshot of before that is a dead end."""
    from replication.checkpoint import save_checkpoint

    machine = Machine(torch.device("cpu"))
    time.sleep(0.2)  # ticks of ten milliseconds
    read = dict(zip(MACHINE, machine.read(), strict=True))
    assert 0 <= read["cpu_percent"] <= 100
    assert read["memory_megabytes"] > 1
    assert math.isnan(read["device_percent"])
    of_before = CURVE[: -len(MACHINE)]
    save_checkpoint(tmp_path / "before", {"curve": torch.ones(3, len(of_before))}, {})
    assert curve_in(tmp_path / "before") == {name: [1.0] * 3 for name in of_before}
    assert _whole(torch.ones(3, len(of_before))).shape == (3, len(CURVE))
