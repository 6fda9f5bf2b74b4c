"""The cost columns of rows: the counter's numbers for the recipe's own shapes, and tables with and without them."""

from pathlib import Path

import pytest
import torch
from harness.tiny import write_tiny

from oracles.costs import dit_cost, unet_cost
from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import Cell, cells_of, cost_columns
from replication.harness.workplace import Workplace
from replication.registry import MODELS
from replication.report.plots import COMPUTE, EVALUATIONS, SAMPLING, costs_of
from replication.report.rows import csv_text, read_csv
from replication.report.tables import tables_of

DIT = 'network = { name = "dit", depth = 1, width = 16, heads = 2, patch = 2, channels = 1, resolution = 8, classes = 10 }'
GUIDED = (
    ('network = "ddpm-digits"\n', f'{DIT}\ncondition = "label"\n'),
    ('objective = "simple"', 'objective = "hybrid"'),
    ('nll = "fixed-large"\n', ""),
    ('clip = "none"\n', 'clip = "none"\nguidance = { weight = 2.0 }\n'),
    ('published = [{ table = "t", row = "r" }]\n', ""),
    ("n = 16", "n = 20"),
)


@pytest.fixture
def guided(project: Path) -> list[Cell]:
    return cells_of(load_experiment(str(write_tiny(project, *GUIDED))), "cpu")


def test_costs_of_a_guided_row(guided: list[Cell], project: Path) -> None:
    """Exact: the formula of the network's sizes, and NFE with guidance's second evaluation. Catches a network of another
    shape than the recipe's, a label left out, a forward pass for a training step, and steps for evaluations.
    """
    record = guided[1].compute(Workplace(project / "runs", torch.device("cpu"), batch_size=20, progress=False)).record
    one = dit_cost(guided[1].recipe.build_network())  # type: ignore[arg-type]
    assert record["sampling.nfe"] == 4
    assert {name: value for name, value in record.items() if name.startswith("cost.")} == {
        "cost.parameters": one.parameters,
        "cost.multiply_adds": one.multiply_adds,
        "cost.activation_bytes": one.activation_bytes,
        "cost.training_multiply_adds": 3 * 2 * 8 * one.multiply_adds,
        "cost.image_multiply_adds": 4 * one.multiply_adds,
    }


def test_costs_survive_the_csv_and_make_a_table_of_their_own(project: Path) -> None:
    """Whole numbers come back whole, and a row without them, as they were written before there were any, has no line.

    Catches: costs read as text, a KeyError for committed rows, and an empty table.
    """
    cells = cells_of(load_experiment(str(write_tiny(project))), "cpu")
    old, new = ({"cell": cell.key, "metric.fd": 1.0} for cell in cells[:2])
    rows = {cells[0].key: old, cells[1].key: new}
    assert "Cost" not in tables_of(cells, rows)
    new |= cost_columns(cells[1].recipe, 2)
    path = project / "rows.csv"
    path.write_text(csv_text([old, new]))
    assert read_csv(path) == [old, new]
    table = tables_of(cells, rows)["Cost"]
    columns, lines = table.columns, table.lines
    network = unet_cost(MODELS.build("ddpm-digits"))
    assert [line[0] for line in lines] == ["DDIM"]
    assert lines[0][columns.index("parameters")] == "284,513"
    assert lines[0][columns.index("multiply-adds, M")] == f"{network.multiply_adds / 1e6:.2f}"


def test_networks_of_unequal_cost_are_plotted_against_it() -> None:
    """Catches: a plot of rows that all take 50 evaluations against those, and rows from before there were costs."""
    one, other = {"cost.multiply_adds": 1}, {"cost.multiply_adds": 2}
    assert costs_of({"a": one, "b": other})[0] == COMPUTE
    assert costs_of({"a": one, "b": dict(one)})[0] == EVALUATIONS
    assert costs_of({"a": one, "b": {}})[0] == EVALUATIONS


def test_times_of_two_devices_are_not_on_one_axis() -> None:
    """Catches: 1,000 steps on two cores beside 20 on a GPU, as if steps alone made the difference."""
    timed = [{"timing.seconds_per_image": 0.1, "env.device": device} for device in ("one", "other", "other")]
    _, time = costs_of(dict(zip("abc", timed, strict=True)))
    assert [time.of(record) for record in timed] == [False, True, True]
    assert time.label.endswith(", other")
    assert costs_of({"b": timed[1], "c": timed[2]})[1] == SAMPLING
