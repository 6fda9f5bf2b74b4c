"""One figure divided by another."""

import math
from pathlib import Path

import pytest
from report.made_up import claim, ddim, evidence, only, row, words

from replication.report.claims import notes

ROWS = {"metric.fd": {2: (2.0, 0.1), 3: (1.0, 0.05)}}


@pytest.mark.parametrize(("at_least", "word"), [(1.5, "supported"), (2.0, "inconclusive"), (2.5, "refuted")])
def test_the_interval_decides(folder: Path, at_least: float, word: str) -> None:
    """2 with a relative error of 7 %. Catches: a verdict from the point alone."""
    judged = only(
        claim("ratio", of=[ddim(2)], over=ddim(3), columns=["metric.fd"], at_least=at_least), evidence(folder, ROWS)
    )
    assert (judged.word, judged.value) == (word, 2.0)


def test_both_errors_count(folder: Path) -> None:
    """exp(+- 1.96 sqrt(0.05^2 + 0.05^2)) around 2, to 0.01. Catches: one error left out, and the division turned round."""
    judged = only(claim("ratio", of=[ddim(2)], over=ddim(3), columns=["metric.fd"], at_least=1), evidence(folder, ROWS))
    assert judged.low == pytest.approx(2 * math.exp(-1.96 * 0.05 * 2**0.5), abs=0.01)
    assert judged.high == pytest.approx(2 * math.exp(1.96 * 0.05 * 2**0.5), abs=0.01)


def test_what_else_the_rows_differ_in_is_named_and_does_not_forbid_the_verdict(folder: Path) -> None:
    """Case 67, in claims. Catches: averaged weights compared with raw ones without a word."""
    rows = evidence(folder, ROWS)
    row(rows, 2)["protocol.ema"], row(rows, 3)["protocol.ema"] = "true", "false"
    judged = only(claim("ratio", of=[ddim(2)], over=ddim(3), columns=["metric.fd"], at_least=1.5), rows)
    assert (judged.word, judged.marked, judged.also) == ("supported", "supported", ("ema (true, false)",))
    assert notes([judged]).endswith("The rows differ also in ema (true, false).")


def test_a_figure_over_itself_is_one(folder: Path) -> None:
    """Catches: the same figure drawn twice, as if it were two measurements."""
    judged = only(claim("ratio", of=[ddim(2)], over=ddim(2), columns=["metric.fd"], about=1), evidence(folder, ROWS))
    assert (judged.low, judged.high, judged.word) == (1.0, 1.0, "supported")


def test_one_verdict_for_each_that_is_divided(folder: Path) -> None:
    """Catches: a list of which the first alone is judged."""
    several = claim("ratio", of=[ddim(2), ddim(4)], over=ddim(3), columns=["metric.fd", "sampling.nfe"], at_least=0.1)
    assert words(several, evidence(folder, ROWS)) == ["supported", "supported", "not tested", "not tested"]


def test_exact_arithmetic(folder: Path) -> None:
    """786,432 / 16,384 = 48 exactly. Catches: 50 printed for 48, and a ratio of the sides."""
    sizes = {"of": [{"name": "values", "shape": [512, 512, 3]}], "over": {"name": "values", "shape": [64, 64, 4]}}
    judged = only(claim("ratio", **sizes, about=50), evidence(folder, {}))
    assert (judged.value, judged.word, judged.low) == (48.0, "supported", None)
    assert judged.formula == "786,432 / 16,384 values"
    assert only(claim("ratio", **sizes, about=51), evidence(folder, {})).word == "refuted"


def seconds(folder: Path, chunks: int = 7, device: str = "one"):
    rows = evidence(folder, {"timing.seconds_per_image": {2: (2.0, 0.0), 3: (1.0, 0.0)}})
    for record in rows.rows.values():
        value = record["timing.seconds_per_image"]
        record |= {"timing.seconds_low": 0.9 * value, "timing.seconds_high": 1.1 * value, "timing.chunks": chunks}
    row(rows, 3)["env.device"] = device
    return only(claim("ratio", of=[ddim(2)], over=ddim(3), columns=["timing.seconds_per_image"], at_least=1.5), rows)


def test_seconds_take_their_error_from_the_range_over_chunks(folder: Path) -> None:
    """5.1 % each. Fewer than five chunks don't bound a median. Catches: times that pass for exact."""
    judged = seconds(folder)
    assert judged.word == "supported"
    assert judged.low == pytest.approx(2 * math.exp(-1.96 * 0.2 / 3.92 * 2**0.5), abs=0.02)
    assert seconds(folder, chunks=4).word == "inconclusive"


def test_seconds_of_two_machines_are_not_divided(folder: Path) -> None:
    """Catches: a faster machine that passes for a faster sampler."""
    judged = seconds(folder, device="another")
    assert judged.word == "not tested"
    assert judged.reason == "the rows differ in the machine (env.device)"


@pytest.mark.parametrize(
    ("column", "value"), [("protocol.n", 3200), ("protocol.extractor", "other"), ("protocol.reference", "x")]
)
def test_rows_of_unequal_protocols_are_compared_only_if_asked_for(folder: Path, column: str, value: object) -> None:
    """Catches: FD at n = 1600 over FD at n = 3200 as if they were of one kind, and a comparison that isn't marked."""
    fields = {"of": [ddim(2)], "over": ddim(3), "columns": ["metric.fd"], "at_least": 1.5}
    rows = evidence(folder, ROWS)
    row(rows, 3)[column] = value
    refused = only(claim("ratio", **fields), rows)
    assert refused.word == "not tested"
    assert column.removeprefix("protocol.") in refused.reason
    asked = only(claim("ratio", **fields, unequal=True), rows)
    assert asked.word == "supported"
    assert column.removeprefix("protocol.") in asked.differing[0]
