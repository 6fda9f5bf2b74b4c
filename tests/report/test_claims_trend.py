"""How one column goes with another over points."""

from pathlib import Path

import numpy as np
import pytest
from report.made_up import claim, ddim, evidence, judge, words
from scipy.stats import pearsonr, spearmanr

from replication.report.claims.trend import correlated, correlation, logarithms, ranks, redrawn_repeats

ALL = [ddim(steps) for steps in (2, 3, 4, 5)]
FALLING = {"metric.fd": {2: (8.0, 0.1), 3: (4.0, 0.1), 4: (2.0, 0.1), 5: (1.0, 0.1)}}


def trend(**fields: object):
    return claim("trend", **{"points": ALL, "columns": ["metric.fd"], "along": "sampling.nfe", **fields})


def test_correlations_are_scipys() -> None:
    """With ties, 1e-12. Catches: ranks by position, a covariance that isn't divided."""
    x, y = np.array([1.0, 2.0, 2.0, 5.0, 9.0]), np.array([9.0, 4.0, 5.0, 4.0, 1.0])
    assert abs(correlation(ranks(x), ranks(y)) - spearmanr(x, y).statistic) <= 1e-12
    assert abs(correlation(logarithms(x), logarithms(y)) - pearsonr(np.log(x), np.log(y)).statistic) <= 1e-12


def test_each_draw_is_correlated_by_itself() -> None:
    """[P,draws] against column by column, 1e-12. Catches: ranks over all draws together."""
    drawn = np.random.default_rng(0).exponential(size=(2, 5, 7))
    together = correlation(ranks(drawn[0]), ranks(drawn[1]))
    apart = [spearmanr(drawn[0, :, i], drawn[1, :, i]).statistic for i in range(7)]
    assert np.abs(together - apart).max() <= 1e-12


@pytest.mark.parametrize(
    ("target", "expected"),
    [({"at_most": -0.9}, "supported"), ({"at_least": 0.5}, "refuted"), ({"about": 0.9, "tolerance": 0.1}, "refuted")],
)
def test_a_clear_trend(folder: Path, target: dict[str, float], expected: str) -> None:
    """8, 4, 2, 1 over 2 to 5 evaluations. Catches: the sign of a correlation lost."""
    assert words(trend(**target), evidence(folder, FALLING)) == [expected, expected]


def test_errors_widen_the_interval(folder: Path) -> None:
    """Four figures that their errors can bring into any order. Catches: a correlation of the points alone."""
    rows = {"metric.fd": {steps: (1.0 - 0.01 * steps, 0.2) for steps in (2, 3, 4, 5)}}
    verdicts = judge(trend(at_most=-0.9), evidence(folder, rows))
    assert [v.word for v in verdicts] == ["inconclusive", "inconclusive"]
    assert verdicts[0].value == pytest.approx(-1)
    assert verdicts[0].high > 0.5


def test_without_a_row_a_logarithm_or_any_variation(folder: Path) -> None:
    """Catches: a trend over the points that happen to be there, and NaN for an answer."""
    three = {"metric.fd": {steps: figure for steps, figure in FALLING["metric.fd"].items() if steps < 5}}
    assert words(trend(at_most=-0.9), evidence(folder, three)) == ["not tested", "not tested"]
    negative = {"metric.kid": {2: (0.1, 0.01), 3: (0.05, 0.01), 4: (0.01, 0.001), 5: (-0.01, 0.001)}}
    by_rank, by_log = judge(trend(columns=["metric.kid"], at_most=-0.9), evidence(folder, negative))
    assert (by_rank.word, by_log.word) == ("supported", "not tested")
    assert "no logarithm" in by_log.reason
    same = {"metric.fd": dict.fromkeys((2, 3, 4, 5), (1.0, 0.1))}
    assert {v.reason for v in judge(trend(at_most=0), evidence(folder, same))} == {"the figures do not give a number"}


def test_strength_against_other_points(folder: Path) -> None:
    """8, 4, 2 is a trend of size 1, and 2, 5, 3 one of 0.5. Catches: the others left out, and signs in the difference."""
    rows = {"metric.fd": {2: (8.0, 0.01), 3: (4.0, 0.01), 4: (2.0, 0.01), 5: (5.0, 0.01), 6: (3.0, 0.01)}}
    straight, crooked = [ddim(steps) for steps in (2, 3, 4)], [ddim(steps) for steps in (4, 5, 6)]
    verdict = judge(trend(points=straight, than=crooked, at_least=0), evidence(folder, rows))[0]
    assert (verdict.value, verdict.word) == (pytest.approx(0.5), "supported")
    turned = judge(trend(points=crooked, than=straight, at_least=0), evidence(folder, rows))[0]
    assert (turned.value, turned.word) == (pytest.approx(-0.5), "refuted")


def test_methods_are_those_that_are_asked_for(folder: Path) -> None:
    """8, 4, 2, 1 over 2 to 5. Catches: a method that is judged without being asked for, and logarithms of the wrong one."""
    verdicts = judge(trend(methods=["semi-log", "rank"], at_most=-0.9), evidence(folder, FALLING))
    assert [v.definition.split()[0] for v in verdicts] == ["semi-log", "rank"]
    expected = pearsonr(np.log([2, 3, 4, 5]), [8, 4, 2, 1]).statistic
    assert verdicts[0].value == pytest.approx(expected, abs=1e-12)


def test_strength_against_another_column(folder: Path) -> None:
    """FD follows the steps and IS does not; what it is compared with is in words. Catches: the other column left out."""
    steps = {2: (1.0, 0.0), 3: (4.0, 0.0), 4: (2.0, 0.0), 5: (3.0, 0.0)}
    rows = {**FALLING, "metric.is": steps}
    verdict = judge(trend(methods=["rank"], than_along="metric.is", at_least=0), evidence(folder, rows))[0]
    assert verdict.value == pytest.approx(1 - 0.4)
    assert "its size with IS-digits" in verdict.formula


def test_repeats_are_drawn_again_and_stay_at_their_place() -> None:
    """Two seeds at each of two places. Catches: seeds of one place drawn at another, draws that all pick the same, and
    points of different places taken for repeats.
    """
    along = np.repeat([[1.0], [1.0], [2.0], [2.0], [3.0]], 4000, axis=1)
    by = np.repeat([[10.0], [20.0], [1.0], [2.0], [7.0]], 4000, axis=1)
    drawn = redrawn_repeats(along, by, np.random.default_rng(0))
    assert set(drawn[:2].ravel()) == {10.0, 20.0}
    assert set(drawn[2:4].ravel()) == {1.0, 2.0}
    assert set(drawn[4]) == {7.0}
    assert abs((drawn[0] == 10).mean() - 0.5) < 0.05
    assert abs((drawn[0] == drawn[1]).mean() - 0.5) < 0.05
    assert not np.shares_memory(drawn, by)


def test_seeds_that_disagree_widen_the_interval() -> None:
    """Twelve exact figures, three seeds at four places. Catches: an interval of the rows' own errors alone."""
    along = np.repeat([1.0, 2.0, 4.0, 8.0], 3)
    steady, shaky = (-np.log(along) + spread * np.tile([-1.0, 0.0, 1.0], 4) + 10 for spread in (1e-6, 1.0))
    widths = []
    for by in (steady, shaky):
        drawn = correlated(
            *(np.repeat(v[:, None], 2000, axis=1) for v in (along, by)), "semi-log", np.random.default_rng(0)
        )
        widths.append(float(np.subtract(*np.quantile(drawn, [0.975, 0.025]))))
    assert widths[0] < 1e-5
    assert widths[1] > 0.1
