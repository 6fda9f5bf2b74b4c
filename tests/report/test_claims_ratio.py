"""One figure divided by another."""

import math
from pathlib import Path

import pytest
from report.made_up import claim, ddim, evidence, only, row, words

from replication.harness.experiment import load_experiment
from replication.metrics.uncertainty import VERSION
from replication.report.claims import answered, judge, notes
from replication.report.claims.evidence import evidence_of

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


FIELDS = {"of": [ddim(2)], "over": ddim(3), "columns": ["metric.fd_infinity"], "at_least": 1.5}


def test_rows_of_earlier_versions_are_marked_with_the_reason(folder: Path) -> None:
    """Two rows that are equally old, of FD-infinity's version 1; KID has had none since. Catches: a clean word for both."""
    both = claim("ratio", **{**FIELDS, "columns": ["metric.fd_infinity", "metric.kid"]})
    figures = {2: (2.0, 0.01), 3: (1.0, 0.01)}
    rows = evidence(folder, {"metric.fd_infinity": figures, "metric.kid": figures})
    assert [v.marked for v in judge(both, rows)] == ["supported", "supported"]
    assert "‡" not in answered(both, judge(both, rows)) + notes(judge(both, rows))
    for steps in (2, 3):
        row(rows, steps).update({"cell": f"of old {steps}", "version.fd_infinity": 1, "version.interval": VERSION})
    rows.verdicts.clear()
    old, kid = judge(both, rows)
    assert (old.marked, kid.marked) == ("supported ‡ (of earlier versions: fd_infinity 1 -> 2)", "supported")
    assert answered(both, [old, kid]).endswith(". ‡ (of earlier versions: fd_infinity 1 -> 2)")
    assert notes([old, kid]) == "‡ of earlier versions (fd_infinity 1 -> 2): `replicate run` measures it again."


def test_a_metric_at_two_versions_is_never_divided(folder: Path) -> None:
    """Catches: `unequal`, which is for protocols, as a way around the versions of a metric."""
    rows = evidence(folder, {"metric.fd_infinity": {2: (2.0, 0.01), 3: (1.0, 0.01)}})
    row(rows, 2)["version.fd_infinity"] = 2
    judged = only(claim("ratio", **FIELDS, unequal=True), rows)
    assert (judged.word, judged.reason) == ("not tested", "the rows differ in version of fd_infinity 2 against 1")


def test_images_of_two_versions_of_the_loop_are_marked(folder: Path) -> None:
    """Catches: a difference that is named below the table and leaves the word as it is."""
    rows = evidence(folder, {"metric.fd_infinity": {2: (2.0, 0.01), 3: (1.0, 0.01)}})
    row(rows, 2)["version.sampling"] = 2
    judged = only(claim("ratio", **FIELDS), rows)
    assert judged.marked == "supported †"
    assert notes([judged]) == "† The rows differ in version of the sampling loop (2, 1)."


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
    assert judged.reason == "the rows differ in device one against another"


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


@pytest.mark.parametrize("kind", ["ratio", "equivalence", "tradeoff"])
@pytest.mark.parametrize(("below", "word"), [(-0.001, "not tested"), (0.0, "not tested"), (0.0005, "inconclusive")])
def test_nothing_is_divided_by_what_may_be_zero_or_less(folder: Path, kind: str, below: float, word: str) -> None:
    """KID of a reference that is as good as perfect: -0.002 over -0.001 is 2, of the lower of the two.

    Catches: "refuted" for a candidate that is better than its reference, an interval of a ratio that passes through infinity.
    """
    rows = evidence(folder, {"metric.kid": dict.fromkeys((2, 3, 4, 5), (0.01, 0.0001))})
    for steps in (2, 3):
        row(rows, steps)["metric.kid"] = below * (2 if steps == 2 else 1)
        row(rows, steps)["metric.kid_se"] = 0.001
    named = {
        "ratio": {"of": [ddim(2)], "over": ddim(3), "columns": ["metric.kid"], "at_most": 1.1},
        "equivalence": {"points": [ddim(2)], "reference": ddim(3), "columns": ["metric.kid"], "margin": 0.1},
        "tradeoff": {
            "candidate": ddim(3), "reference": ddim(2), "baseline": ddim(4), "bad": ddim(5), "quality": {"about": 0.8},
            "speed": {"about": 1},
        },
    }  # fmt: skip
    verdict = next(v for v in judge(claim(kind, **named[kind]), rows) if v.definition.startswith("KID"))
    assert (verdict.word, verdict.p) == (word, None)
    assert "divided by" in verdict.reason


def test_what_the_papers_print_comes_from_one_table_where_one_has_it_all(folder: Path) -> None:
    """20 DDIM steps against DDPM-1000: 3.17 / 6.84 of the DDIM paper, and 8.4744 / 9.4515 of the page that has both scores.

    Catches: a figure of one paper over one of another, a table that nobody names.
    """
    found = evidence_of(load_experiment("ddpm"), "cpu", folder, folder)
    printed = {v.definition: (v.published, v.source) for v in judge(found.claims[0], found)}
    assert printed["FD-digits-infinity ratio"] == (pytest.approx(3.17 / 6.84), "arXiv:2010.02502, Table 1, CIFAR-10")
    assert printed["IS-digits ratio"] == (
        pytest.approx(8.4744 / 9.4515),
        "xyfJASON/Diffusion-Models-Implementations, docs/Samplers.md",
    )
    gap = (133.37 - 6.84) / (133.37 - 3.17)
    assert printed["FD-digits-infinity gap closed"] == (pytest.approx(gap), "arXiv:2010.02502, Table 1, CIFAR-10")
    assert printed["KID-digits ratio"] == (None, "")
