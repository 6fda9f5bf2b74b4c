"""The one sentence that a claim begins with, what several readings cost, and a test that could not have failed."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from report.made_up import claim, ddim, evidence, judge, only

from replication.report.claims import markdown_claim
from replication.report.claims.reading import Reading
from replication.report.claims.verdict import Answer, Range, Verdict, Word, corrected

# falls by half, stays, rises; the last two steps are not run
ROWS = {"metric.fd_infinity": {2: (2.0, 0.05), 3: (1.0, 0.05), 4: (1.0, 0.05)}}
RATIO = {"over": ddim(3), "columns": ["metric.fd_infinity"]}


def answered(folder: Path, **fields: object) -> str:
    judged = claim("ratio", **{**RATIO, **fields})
    return judged.answer(judge(judged, evidence(folder, ROWS)))


def test_one_reading_is_a_sentence(folder: Path) -> None:
    """Supported, refuted and neither, with the figure, its interval and what is needed. Catches: a word without a reason."""
    name = r"FD-digits-infinity: DDIM x 2 over DDIM x 3 is 2\b.* \[1\.\d+, 2\.\d+\], and must be"
    for target, lead in (({"above": 1.0}, "Yes"), ({"at_most": 1.1}, "No"), ({"at_least": 2.0}, "Undecided")):
        needed = str(claim("ratio", of=[ddim(2)], **RATIO, **target).range)
        assert_matches(rf"^{lead}: {name} {needed}\.$", answered(folder, of=[ddim(2)], **target))


def assert_matches(pattern: str, text: str) -> None:
    assert re.search(pattern, text), text


def test_several_readings_are_listed_by_word(folder: Path) -> None:
    """One no, one yes, one not run. Catches: the first word for all, and a reading that is passed over."""
    text = answered(folder, of=[ddim(2), ddim(3), ddim(5)], at_most=1.5)
    assert_matches(
        r"^No by FD-digits-infinity: DDIM x 2 over DDIM x 3 \(2 \[.*\]\), yes by FD-digits-infinity: DDIM x 3 over DDIM x 3 "
        r"\(1 \[1, 1\]\); 1 of 3 readings not tested: DDIM x 5 of tiny is not run; it must be at most 1\.5\.$",
        text,
    )


def test_without_rows_it_says_why(folder: Path) -> None:
    assert answered(folder, of=[ddim(5)], at_most=1.5) == "Not tested: DDIM x 5 of tiny is not run."


def test_of_many_readings_some_are_counted(folder: Path) -> None:
    """Catches: a sentence as long as the table."""
    verdicts = [Verdict(f"reading {i}", "", Range(low=0.0), None, value=1.0, word="supported") for i in range(5)]
    text = claim("value", of=[ddim(2)], columns=["metric.fd"], at_least=0).answer(verdicts)
    assert text == "Yes by reading 0 (1) and 4 more; it must be at least 0."


def test_the_answer_is_the_first_line_below_the_claim(folder: Path) -> None:
    judged = claim("ratio", of=[ddim(2)], **RATIO, above=1.0)
    text = markdown_claim(judged, evidence(folder, ROWS)).split("\n\n")
    assert text[0].startswith("**Claim `n`**")
    assert text[1].startswith("**Answer**: Yes: ")


# ---------------------------------------------------------------- definitions that a bad row passes


def trade(**fields: object):
    points = {"candidate": ddim(2), "reference": ddim(3), "baseline": ddim(4), "bad": ddim(5)}
    return claim("tradeoff", **points, **{"quality": {"about": 0.8}, "speed": {"about": 1.5}, **fields})


def test_a_definition_that_a_bad_row_passes_counts_for_nothing(folder: Path) -> None:
    """By IS all rows are alike, and the bad one passes; by distance it gets a tenth. The word by IS is none of the three.

    Catches: "yes by the inception score" for a score that any row gets, and its p among those that are corrected.
    """
    of_fd = {2: (1.25, 0.001), 3: (1.0, 0.001), 4: (8.0, 0.01), 5: (10.0, 0.01)}
    rows = {"metric.fd_infinity": of_fd, "metric.is": {steps: (8.0 + 0.01 * steps, 0.01) for steps in of_fd}}
    judged = trade()
    verdicts = {v.definition: v for v in judge(judged, evidence(folder, rows))}
    ratio, score = verdicts["FD-digits-infinity ratio"], verdicts["IS-digits ratio"]
    assert (ratio.word, ratio.controls) == ("supported", {"DDIM x 4": 0.125, "DDIM x 5": 0.1})
    assert (score.word, score.p) == ("does not discriminate", None)
    assert score.reason == "DDIM x 4 gets 1 and DDIM x 5 gets 1"
    text = judged.answer(list(verdicts.values()))
    yes = "Quality: yes by distance (80 % [80, 80] by FD-digits-infinity)"
    assert text.startswith(f"{yes}, more than claimed by share of the gap (96 % [96, 96] by ")
    assert "no answer by inception score (100 % [100, 100] by IS-digits) as DDIM x 4 and DDIM x 5 pass too;" in text


@pytest.mark.parametrize(("bad", "passes"), [(1.3, True), (1.0, True), (0.5, True), (1.35, False)])
def test_a_bad_row_passes_at_the_lower_end_of_the_band_and_beyond_its_upper_one(
    folder: Path, bad: float, passes: bool
) -> None:
    """0.76 and more is enough: 1 / 1.3 and 1 / 0.5 are, 1 / 1.35 = 0.74 is not. Catches: a row that is too good to be seen."""
    rows = {"metric.fd_infinity": {2: (1.25, 0.001), 3: (1.0, 0.001), 4: (8.0, 0.01), 5: (bad, 0.01)}}
    found = {v.definition: v.word for v in judge(trade(), evidence(folder, rows))}
    assert (found["FD-digits-infinity ratio"] == "does not discriminate") is passes


@pytest.mark.parametrize(("baseline", "word"), [(1.02, "does not discriminate"), (1.4, "supported")])
def test_a_share_of_no_gap_counts_for_nothing(folder: Path, baseline: float, word: str) -> None:
    """A baseline within 2 % of the reference has the quality without the candidate's help; one at 71 % has not.

    Catches: "no by share of the gap" of two rows that are nearly alike.
    """
    candidate = baseline - 0.8 * (baseline - 1.0)
    rows = {"metric.fd_infinity": {2: (candidate, 1e-5), 3: (1.0, 1e-5), 4: (baseline, 1e-5), 5: (9.0, 0.01)}}
    found = {v.definition: v for v in judge(trade(), evidence(folder, rows))}
    gap = found["FD-digits-infinity gap closed"]
    assert gap.word == word
    assert gap.reason == ("" if word == "supported" else "DDIM x 4 has 0.98 by ratio")


def test_a_control_that_is_not_run_is_shown_as_such(folder: Path) -> None:
    rows = {"metric.fd_infinity": {2: (1.25, 0.001), 3: (1.0, 0.001), 4: (8.0, 0.01)}}
    found = evidence(folder, rows)
    (ratio, *_) = judge(trade(), found)
    assert (ratio.word, ratio.controls["DDIM x 5"]) == ("supported", None)
    assert "not run" in markdown_claim(trade(), found)


def test_a_definition_without_any_control_may_not_discriminate(folder: Path) -> None:
    """Neither the baseline nor the bad row is run. Catches: rows that are not there and count as failed."""
    rows = {"metric.fd_infinity": {2: (1.25, 0.001), 3: (1.0, 0.001)}}
    (ratio, *_) = judge(trade(), evidence(folder, rows))
    assert (ratio.word, ratio.p) == ("inconclusive", None)
    assert ratio.reason == "whether a bad row passes too is not known: not run are DDIM x 4 and DDIM x 5"


def test_speed_is_about_on_both_sides(folder: Path) -> None:
    """1.5 times: 3 evaluations over 2. Catches: twice the speed for about 1.5 times, and "no" for what is more than asked."""
    for times, word, said in ((1.5, "supported", "yes"), (1.2, "refuted", "more than claimed"), (2.0, "refuted", "no")):
        judged = trade(speed={"about": times})
        verdicts = judge(judged, evidence(folder, ROWS))
        assert {v.definition: v.word for v in verdicts}["speed in NFE"] == word
        assert f"1.5 times in evaluations ({said})" in judged.answer(verdicts)


# ---------------------------------------------------------------- several readings, and power


def verdict(p: float | None) -> Verdict:
    return Verdict("d", "f", Range(low=0.0), None, value=1.0, low=0.1, high=2.0, word="supported", p=p)


def test_holm_by_hand() -> None:
    """0.01, 0.04, 0.03, 0.005 of four: 4 x 0.005, 3 x 0.01, 2 x 0.03 and 0.04, the last as large as the one before it.

    Catches: Bonferroni's 0.04 for 0.01, 0.04 that is left as it is, an order that is lost, exact figures that are counted.
    """
    found = corrected([verdict(p) for p in (0.01, 0.04, None, 0.03, 0.005)])
    assert [v.p for v in found] == [pytest.approx(p) if p else None for p in (0.03, 0.06, None, 0.06, 0.02)]
    assert [v.word for v in found] == ["supported", "inconclusive", "supported", "inconclusive", "supported"]
    assert found[1].reason == "supported by itself, but not among 4 readings: p = 0.06 by Holm"
    assert corrected([replace(verdict(0.04), word="refuted")])[0].word == "refuted"


@pytest.mark.parametrize("needed", [Range(low=1.0), Range(low=1.0, open=True), Range(1.0, 9.0), Range(high=1.0)])
def test_p_agrees_with_the_interval(needed: Range) -> None:
    """0.05 where the 95 % interval touches, of sides of unequal width, and the normal tail beyond it.

    Catches: a one-sided p, the width of the other side, an interval that supports where p does not.
    """
    assert needed.p_value(2.0, 1.0, 5.0) == pytest.approx(0.05, abs=1e-6)
    assert needed.p_value(2.0, 1.5, 5.0) == pytest.approx(math.erfc(2 * 1.959964 / 2**0.5), rel=1e-6)
    assert needed.p_value(2.0, 0.5, 5.0) > 0.05
    assert needed.p_value(1.0, 0.5, 5.0) == 1.0


def test_p_of_a_band_is_that_of_the_nearer_end() -> None:
    """Catches: an equivalence of which one side is tested."""
    assert Range(0.0, 3.0).p_value(2.0, 1.0, 3.0) == pytest.approx(0.05, abs=1e-6)
    assert Range(-9.0, 3.0).p_value(2.0, 1.0, 3.0) == pytest.approx(0.05, abs=1e-6)


def test_readings_of_a_claim_are_corrected_together(folder: Path) -> None:
    """2.2 standard errors above 1: p = 0.03 by itself, 0.06 beside an equal one. Catches: every reading at its own 5 %."""
    rows = {"metric.kid": {2: (1.22, 0.1), 3: (1.22, 0.1), 4: (3.0, 0.1)}}
    alone = claim("value", of=[ddim(2)], columns=["metric.kid"], above=1)
    assert only(alone, evidence(folder, rows)).word == "supported"
    both = claim("value", of=[ddim(2), ddim(3)], columns=["metric.kid"], above=1)
    found = evidence(folder, rows)
    assert [v.word for v in judge(both, found)] == ["inconclusive", "inconclusive"]
    assert "| p (Holm) |" in markdown_claim(both, found)


@pytest.mark.parametrize(("power", "word"), [(0.79, "inconclusive"), (0.8, "supported"), (None, "supported")])
def test_a_test_without_power_supports_nothing(folder: Path, power: float | None, word: str) -> None:
    """And refutes all the same. Catches: a test that finds nothing because it can't, and passes for support."""
    judged, found = claim("value", of=[ddim(2)], columns=["metric.kid"], above=1), evidence(folder, {})
    assert Reading.exact("d", "f", Range(low=0.01), 0.5, power).verdict(judged, found).word == word
    assert Reading.exact("d", "f", Range(low=0.01), 0.005, power).verdict(judged, found).word == "refuted"


def test_a_test_made_of_draws_is_corrected_like_every_reading(folder: Path) -> None:
    """p = 0.03 refutes by itself and not beside an equal one; nothing stands on p = 0.2 of its word.

    Catches: the p-value of a test that passes for a figure without an error.
    """
    judged, found = claim("value", of=[ddim(2)], columns=["metric.kid"], above=1), evidence(folder, {})
    refuted = Reading.exact("d", "f", Range(low=0.05), 0.03, power=1.0, p=0.03).verdict(judged, found)
    assert (refuted.word, refuted.p) == ("refuted", 0.03)
    assert [(v.word, v.p) for v in corrected([refuted, refuted])] == [("inconclusive", 0.06)] * 2
    assert Reading.exact("d", "f", Range(low=0.05), 0.5, power=1.0, p=0.2).verdict(judged, found).word == "inconclusive"


def test_a_trade_off_has_an_answer_for_each_side(folder: Path) -> None:
    """Both in a word, without our figures in short. Catches: a speed that answers for the quality, and figures in short."""
    of_fd = {2: (1.25, 0.001), 3: (1.0, 0.001), 4: (8.0, 0.01), 5: (10.0, 0.01)}
    judged = trade()
    verdicts = judge(judged, evidence(folder, {"metric.fd_infinity": of_fd}))
    quality, speed = judged.answers(verdicts)
    assert (quality.of, quality.lead, quality.share) == ("quality", "yes and no", True)
    assert (speed.of, speed.lead, speed.share) == ("speed", "yes", False)
    assert quality.short == "yes by distance, more than claimed by share of the gap."
    assert judged.answer(verdicts) == f"Quality: {quality.text} Speed: {speed.text}"
    (untested,) = judged.answers(judge(judged, evidence(folder, {})))
    assert (untested.of, untested.lead) == ("", "not tested")


@pytest.mark.parametrize(
    ("words", "lead"),
    [
        (["supported", "not judged"], "yes"),
        (["refuted", "does not discriminate"], "no"),
        (["supported", "refuted"], "yes and no"),
        (["supported", "inconclusive"], "undecided"),
        (["not tested", "does not discriminate"], "no answer"),
        (["not tested", "not judged"], "not tested"),
    ],
)
def test_an_answer_is_undecided_as_soon_as_a_reading_is(words: list[Word], lead: str) -> None:
    """Catches: an answer by the majority of the readings."""
    assert Answer("", "t", "t", [Verdict("d", "f", Range(), None, word=word) for word in words]).lead == lead


def test_the_answer_names_a_speed_that_is_not_tested(folder: Path) -> None:
    """Times of one machine are not there. Catches: an answer that has the speed by evaluations and is silent about the other."""
    judged = trade()
    text = judged.answer(judge(judged, evidence(folder, {"metric.fd_infinity": {2: (1.25, 0.001), 3: (1.0, 0.001)}})))
    assert "1.5 times in evaluations (yes)" in text
    assert "DDIM x 2 has no figure timing.seconds_per_image" in text
