"""Two rows side by side, and rows that may not stand there."""

import re

import pytest
import torch

from replication.metrics.uncertainty import Replicates
from replication.report.compare import VERSIONS, compared, differences, named_differences
from replication.types import InputError

LABELS = {"fd": "FD-digits", "kid": "KID-digits", "is": "IS-digits"}


def row(fd: float, se: float, **columns: object) -> dict[str, object]:
    equal = {
        "experiment": "ddpm",
        "label": "DDIM",
        "sampling.steps": 20,
        "protocol.n": 500,
        "protocol.reference_n": 500,
        "protocol.features": 5,
        "protocol.extractor": "digits-cnn",
    }
    return {**equal, "metric.fd": fd, "metric.fd_se": se, "metric.kid": 0.01, **columns}


@pytest.mark.parametrize(
    ("fd", "word"), [(2.0, "higher"), (0.1, "lower"), (1.2, "no difference seen")], ids=["higher", "lower", "same"]
)
def test_a_difference_is_one_where_its_interval_leaves_zero_out(fd: float, word: str) -> None:
    """Standard errors 0.09 and 0.12 add up to 0.15. Catches errors that are added, or left out of one row."""
    table = str(compared(row(1.0, 0.09), row(fd, 0.12), LABELS))
    assert f"{word} " in table.splitlines()[-1]
    assert f"[{fd - 1 - 0.294:+.3g}, {fd - 1 + 0.294:+.3g}]" in table
    assert "KID" not in table  # it has no error in these rows


def test_unequal_rows_are_refused_or_marked() -> None:
    unequal = row(1.1, 0.1, **{"protocol.n": 50})
    with pytest.raises(InputError, match="n 500 against 50"):
        str(compared(row(1.0, 0.1), unequal, LABELS))
    asked = str(compared(row(1.0, 0.1), unequal, LABELS, unequal=True))
    assert "FD-digits†" in asked
    assert asked.endswith("† unequal: n 500 against 50")


def test_what_a_protocol_leaves_to_the_images_is_named_and_not_refused() -> None:
    """Case 67. Catches: a field that is compared and not named, and labels of a row that draws none."""
    settings = {"protocol.ema": "true", "protocol.quantizer": "round", "protocol.precision": "float32"}
    others = {"protocol.ema": "false", "protocol.quantizer": "truncate", "protocol.precision": "bf16"}
    table = str(compared(row(1.0, 0.1, **settings), row(1.1, 0.1, **others, **{"protocol.labels": "balanced"}), LABELS))
    assert table.endswith(
        "\n\nthe rows differ also in ema (true, false), quantizer (round, truncate), precision (float32, bf16)"
    )
    assert "differ also" not in str(compared(row(1.0, 0.1, **settings), row(1.1, 0.1, **settings), LABELS))


def test_a_metric_of_two_versions_is_not_compared() -> None:
    """Exact. Catches: the distance of a doubled formula beside that of the right one; fd_min that counts as another metric.

    Rows from before versions were kept are at version 1.
    """
    now = row(2.0, 0.1, **{"version.fd": 2, "version.is": 1, "metric.is": 2.0, "metric.is_se": 0.1})
    before = row(1.0, 0.1, **{"metric.is": 1.9, "metric.is_se": 0.1})
    lines = {line.split(" |")[0].strip("| "): line for line in str(compared(before, now, LABELS)).splitlines()}
    assert "not compared: version of fd 1 against 2" in lines["FD-digits"]
    assert "[" not in lines["FD-digits"]
    assert "no difference seen" in lines["IS-digits"]
    assert differences([before, now]) == []


def test_images_or_intervals_of_two_versions_are_marked() -> None:
    """Of three rows the last two differ. Catches: rows that are compared with the first alone, an unguided row that counts
    as one of version 1."""
    old, now = {}, {"version.interval": 2}
    assert named_differences([old, old, now], VERSIONS) == ["version of the intervals (1, 2)"]
    assert named_differences([{"version.guidance": 1}, {}], VERSIONS) == []
    table = str(compared(row(1.0, 0.1), row(1.1, 0.1, **{"version.sampling": 2}), LABELS))
    assert "FD-digits†" in table
    assert table.endswith("† unequal: version of the sampling loop (1, 2)")


@pytest.mark.parametrize("column", ["protocol.n", "protocol.reference_n"])
def test_no_word_follows_from_a_distance_whose_bias_decides(column: str) -> None:
    """100 images a feature on both sides, and one fewer on either. Catches: "higher" for a difference that bias hides."""
    worse = {"metric.is": 2.0, "metric.is_se": 0.1}
    rows = row(1.0, 0.1, **worse), row(9.0, 0.1, **worse)
    assert "| higher " in str(compared(*rows, LABELS))
    few = [{**of, column: 499} for of in rows]
    table = str(compared(*few, LABELS))
    fd, score = (next(line for line in table.splitlines() if name in line) for name in ("FD-digits", "IS-digits"))
    assert "higher" not in fd
    assert "+8 [" in fd
    assert "no difference seen" in score
    name = "n" if column == "protocol.n" else "reference n"
    assert re.search(rf"metric.fd judges from 100 images a feature on.* {name} = 499", table)


def test_rows_of_one_stream_are_paired() -> None:
    """Replicates x + y/100 and x + z/100, all of variance 1: the difference varies by sqrt(2)/100, not by sqrt(2).

    The interval is 2.83/100 to either side, within a tenth of that for 2,000 draws. Catches: rows that count as independent,
    the sign of the difference, draws of two streams, or of as many images of another dataset, that are taken for joint.
    """
    common, *own = torch.randn(3, 2000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = [row(1.0, 1.0, cell="a"), row(1.1, 1.0, cell="b")]
    kept = {cell: Replicates("s", {"metric.fd": 5 + common + part / 100}) for cell, part in zip("ab", own, strict=True)}
    line = str(compared(*rows, LABELS, replicates=kept)).splitlines()[-1]
    low, high = map(float, re.search(r"\[(\S+), (\S+)\]", line).groups())
    assert (high - low) / 2 == pytest.approx(1.96 * 2**0.5 / 100, rel=0.1)
    assert low < 0.1 < high
    assert "| higher" in line
    assert "r = 1.000" in line
    apart = str(compared(*rows, LABELS, replicates={**kept, "b": Replicates("t", kept["b"].values)})).splitlines()[-1]
    assert "no difference seen" in apart
    assert "no: other draws" in apart
    elsewhere = {**rows[1], "recipe.dataset": "another"}
    assert "no: other draws" in str(compared(rows[0], elsewhere, LABELS, replicates=kept))
    assert str(compared(*rows, LABELS, replicates={"a": kept["a"]})).splitlines()[-1].endswith("| no     |")
