"""A metric of one file: in rows, tables, labels, published values and claims, without a line anywhere else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from report.made_up import claim, ddim, evidence, only
from torch import Tensor

from replication.harness.published import PublishedRow
from replication.harness.table import metrics_in
from replication.harness.versions import metric_versions
from replication.metrics import Features, Material, Metric, evaluate
from replication.metrics.metric import Measurement, metric_named, metrics
from replication.registry import EXTRACTORS, METRICS


class Largest(Metric):
    """The largest feature."""

    name, label, unit, direction, needs = "largest", "Largest", "cm", "higher", ("samples",)
    form, position, by_factor = "{:.1f}", 6, True

    def compute(self, material: Material, samples: list[Tensor]) -> Measurement:
        return Measurement({"largest": max(float(values.max()) for values in samples), "largest_se": 0.5})


def forget() -> None:
    for known in (metrics, metric_named):
        known.cache_clear()


@pytest.fixture
def largest() -> Iterator[None]:
    """The metric as its file registers it."""
    METRICS.register("largest")(Largest)
    forget()
    yield
    for names in (METRICS._factories, METRICS._canonical):
        del names["largest"]
    forget()


@pytest.mark.usefixtures("largest")
def test_a_metric_of_one_file_is_in_rows_tables_and_claims(folder: Path) -> None:
    """Catches: a list of metrics by name anywhere between the features and the verdict."""
    values = torch.arange(40.0).reshape(20, 2)
    measured = evaluate(Material([Features(values)], Features(values), resamples=5))
    assert (measured.columns["largest"], metric_versions((), "digits-cnn")["largest"]) == (39, 1)
    assert "largest" not in evaluate(Material([Features(values)], Features(values), paired=True, resamples=5)).columns
    (column,) = (column for column in metrics_in("") if column.column == "metric.largest")
    record = {"metric.largest": 39.0, "metric.largest_low": 38.0, "metric.largest_high": 40.0}
    assert column.text(record) == "39.0 [38.0, 40.0]"
    assert column.heading.format_map(EXTRACTORS.build("digits-cnn").labels) == "Largest-digits, cm"
    rows = evidence(folder, {"metric.largest": {2: (2.0, 0.01)}})
    verdict = only(claim("value", of=[ddim(2)], columns=["metric.largest"], at_least=1), rows)
    assert (verdict.word, verdict.definition) == ("supported", "Largest-digits of DDIM x 2")
    protocol = {
        "protocol": {"name": "p", "n": 16, "quantizer": "round", "reference": "test", "extractor": "digits-cnn"}
    }
    with pytest.raises(ValidationError, match="unknown metric 'largets'; did you mean 'largest'"):
        PublishedRow.model_validate({"row": "r", "steps": [2], "values": {"largets": [1.0]}, "protocol": protocol})


def test_every_metric_says_what_it_needs_and_how_it_is_shown() -> None:
    """Catches: a need that no material has, a heading that no label fills, a format that a number does not fit."""
    labels = EXTRACTORS.build("digits-cnn").labels
    for metric in metrics():
        assert METRICS.get(metric.name) is type(metric)
        assert all(hasattr(Material(), need) for need in metric.needs)
        assert metric.heading.format_map(labels)
        assert metric.form.format(0.5 * metric.scale)
        assert f"{0.5:{metric.paper_form}}"
