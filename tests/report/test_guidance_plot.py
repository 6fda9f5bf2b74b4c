"""The curve over guidance weights: which rows make one, and that it is drawn."""

import io
from pathlib import Path

from PIL import Image

from replication.harness.experiment import load_experiment
from replication.harness.home import project
from replication.harness.jobs.cell import cells_of
from replication.harness.journal import Journal
from replication.report.guidance import guidance_plot, guidance_sweeps
from replication.report.rows import rows_of


def test_rows_that_differ_in_the_weight_alone_make_a_curve(tmp_path: Path) -> None:
    """The committed guidance rows: five weights in order, the one with an interval apart. Catches weight 1 left out, rows in
    the file's order, guidance of some times among that of all, and a curve of two points.
    """
    cells = cells_of(load_experiment("guidance"), "cpu")
    rows = rows_of(cells, Journal(tmp_path), project() / "results" / "guidance-cpu.csv")
    (sweep,) = guidance_sweeps(list(reversed(cells)), rows)
    assert sweep.weights == [1.0, 1.5, 2.0, 3.0, 5.0]
    assert [r["label"] for r in sweep.records][:2] == ["weight 1 (off)", "weight 1.5"]
    accuracy = [r["metric.class_accuracy"] for r in sweep.records]
    assert accuracy[0] < accuracy[1]
    sweeps = guidance_sweeps(cells, rows)
    picture = guidance_plot(sweeps, "FD", "t")
    assert picture is not None
    assert Image.open(io.BytesIO(picture)).size[0] > 800
    assert picture == guidance_plot(sweeps, "FD", "t")
    lacking = {key: {name: v for name, v in row.items() if name != "metric.recall"} for key, row in rows.items()}
    assert guidance_sweeps(cells, lacking) == [], "rows against moments have accuracies, and no precision and recall"
    few = {cell.key: rows[cell.key] for cell in cells[:2]}
    assert guidance_sweeps(cells, few) == []
