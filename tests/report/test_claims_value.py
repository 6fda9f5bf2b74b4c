"""A figure against what is claimed of it: the interval decides, and what is exact has none."""

import math
from pathlib import Path

import pytest
from report.made_up import claim, ddim, evidence, only

from replication.report.claims.claim import Target

NOISY = {"metric.fd": {2: (1.0, 0.05)}}


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ({"at_least": 0.8}, "supported"), ({"at_least": 1.0}, "inconclusive"), ({"at_least": 1.2}, "refuted"),
        ({"at_most": 1.2}, "supported"), ({"at_most": 1.0}, "inconclusive"), ({"at_most": 0.8}, "refuted"),
        ({"above": 1.0}, "inconclusive"), ({"below": 1.2}, "supported"), ({"below": 0.8}, "refuted"),
        ({"about": 1.0}, "inconclusive"), ({"about": 0.5}, "refuted"), ({"about": 2.0}, "refuted"),
    ],
)  # fmt: skip
def test_the_interval_decides(folder: Path, target: dict[str, float], word: str) -> None:
    """1.00 with a standard error of 0.05. Catches: a verdict from the point alone, and one end of a range forgotten."""
    judged = only(claim("value", of=[ddim(2)], columns=["metric.fd"], **target), evidence(folder, NOISY))
    assert (judged.word, judged.value) == (word, 1.0)


def test_the_interval_is_the_normal_one(folder: Path) -> None:
    """1.96 standard errors, to 0.06 of one (20,000 draws): by a factor for a distance, linearly for what may be negative.

    Catches: KID on the log scale, a distance on the linear one, a 90 % interval.
    """
    rows = evidence(folder, {"metric.fd": {2: (1.0, 0.5)}, "metric.kid": {2: (0.01, 0.02)}})
    fd, kid = (only(claim("value", of=[ddim(2)], columns=[c], at_least=0), rows) for c in ("metric.fd", "metric.kid"))
    assert fd.low == pytest.approx(math.exp(-1.96 * 0.5), abs=0.03)
    assert fd.high == pytest.approx(math.exp(1.96 * 0.5), abs=0.08)
    assert kid.low == pytest.approx(0.01 - 1.96 * 0.02, abs=0.06 * 0.02)
    assert (kid.definition, fd.definition) == ("KID-digits of DDIM x 2", "FD-digits of DDIM x 2")


@pytest.mark.parametrize(
    ("steps", "column", "reason"),
    [
        (3, "metric.fd", "DDIM x 3 of tiny is not run"),
        (2, "metric.fdd", "DDIM x 2 has no figure metric.fdd"),
        (2, "env.device", "DDIM x 2 has no figure env.device"),
        (2, "metric.recall", "DDIM x 2 has no interval for metric.recall"),
    ],
)
def test_what_cannot_be_judged_says_why(folder: Path, steps: int, column: str, reason: str) -> None:
    """Catches: a measured figure without an error that passes for exact, and a misspelt column."""
    rows = evidence(folder, NOISY)
    for record in rows.rows.values():
        record["metric.recall"] = 0.5
    judged = only(claim("value", of=[ddim(steps)], columns=[column], at_least=0), rows)
    assert judged.word == "not tested"
    assert judged.value is None
    assert judged.reason == reason


def test_a_set_that_is_too_small_for_fd_infinity_says_so(folder: Path) -> None:
    """Ten images for each of the row's features. Catches: a reason that names a column alone."""
    rows = evidence(folder, {"metric.fd": {2: (1.0, 0.1)}})
    for record in rows.rows.values():
        record["protocol.features"] = 256
    judged = only(claim("value", of=[ddim(2)], columns=["metric.fd_infinity"], at_least=0), rows)
    assert judged.reason == "DDIM x 2 has no figure metric.fd_infinity: it takes 2,560 images, and there are 1,600"


def test_counts_are_exact(folder: Path) -> None:
    """Catches: a count that is asked for an interval."""
    judged = only(claim("value", of=[ddim(2)], columns=["sampling.nfe"], about=2), evidence(folder, NOISY))
    assert (judged.word, judged.low, judged.high) == ("supported", None, None)


def test_quantities_need_no_rows(folder: Path) -> None:
    """Catches: an exact claim that waits for rows, and one that is supported whatever the number is."""
    of = [{"name": "values", "shape": [64, 64, 4]}]
    judged = only(claim("value", of=of, about=16384), evidence(folder, {}))
    assert (judged.word, judged.value, judged.low) == ("supported", 16384.0, None)
    assert only(claim("value", of=of, about=20000), evidence(folder, {})).word == "refuted"


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ({"about": 50}, "47.5 to 52.5"), ({"about": -0.9}, "-0.945 to -0.855"), ({"at_least": 2.0}, "at least 2"),
        ({"at_most": -0.9}, "at most -0.9"), ({"above": 1}, "above 1"), ({"below": 0}, "below 0"),
    ],
)  # fmt: skip
def test_about_is_five_percent_on_both_sides_whatever_the_sign(target: dict[str, float], shown: str) -> None:
    """Catches: a tolerance on one side alone or with a sign, and one that holds for other bounds too."""
    assert str(Target(**target).range) == shown
