"""What the harness costs, as its script prints it; its figures are not judged here."""

from pathlib import Path

import pytest
import torch

from replication.bench import harness
from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of

CPU = torch.device("cpu")


def cells_in(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_what_of_a_row_is_the_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: drawing that is left in the overhead, a sum of other lines, and a share of something else than a minute."""
    monkeypatch.setattr(harness, "ROWS", 2)
    (_, own, _), (_, mlflow, _), (_, both, share), *beside = cells_in(harness.overhead(CPU))
    assert float(own) > 0 < float(mlflow)
    assert float(both) == pytest.approx(float(own) + float(mlflow), abs=0.2)
    assert float(share.rstrip("%")) == pytest.approx(float(both) / 600, abs=0.01)
    assert all(float(of) > 0 for _, of, _ in beside)


def test_what_each_more_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """3 s for 10 rows and 7 s for 30: 200 ms for each more. Catches: a difference to the first size alone."""
    clock = iter([0.0, 5.0, 5.0, 8.0, 8.0, 15.0, 15.0, 23.0])  # the first run, of one row, trains as well
    monkeypatch.setattr(harness.time, "process_time", lambda: next(clock))
    monkeypatch.setattr(harness, "run", lambda *_: None)
    lines = cells_in(harness.growth("rows", (10, 30, 40), CPU))
    assert [line[2] for line in lines] == ["", "200", "100"]
    assert [line[1] for line in lines] == ["3.00", "7.00", "8.00"]


def test_the_rows_that_grow(tmp_path: Path) -> None:
    """Catches: an experiment that the language refuses, and seeds that make one row of several."""
    path = harness._experiment(tmp_path, {"rows": 3, "images": 20, "steps": 4})
    cells = cells_of(load_experiment(str(path)), "cpu")
    assert [cell.protocol.seeds for cell in cells] == [[0], [1], [2]]
    assert {(cell.protocol.n, cell.sampling.steps) for cell in cells} == {(20, 4)}
