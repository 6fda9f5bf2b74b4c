"""How one column goes with another over points."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from report.made_up import PLACES, claim, ddim, evidence, judge, of_seeds, words
from scipy.stats import pearsonr, spearmanr

from replication.report.claims.draws import around, fresh_repeats, logarithms
from replication.report.claims.trend import SCALES, correlated, correlation, largest_of_ranks, ranks

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
    [({"at_most": -0.9}, "supported"), ({"at_least": 0.5}, "refuted"), ({"about": 0.9}, "refuted")],
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


def test_methods_are_those_that_are_asked_for(folder: Path) -> None:
    """8, 4, 2, 1 over 2 to 5. Catches: a method that is judged without being asked for, and logarithms of the wrong one."""
    verdicts = judge(trend(methods=["semi-log", "rank"], at_most=-0.9), evidence(folder, FALLING))
    assert [v.definition.split()[0] for v in verdicts] == ["semi-log", "rank"]
    expected = pearsonr(np.log([2, 3, 4, 5]), [8, 4, 2, 1]).statistic
    assert verdicts[0].value == pytest.approx(expected, abs=1e-12)


def test_seeds_in_perfect_order_have_their_value_in_its_interval() -> None:
    """Sizes that no seed confuses, and errors that count once: the rank correlation is -0.9716 whatever the seeds, and no
    twelve points at four places can have a larger one.

    Errors as large as the largest distance, beside seeds that differ by 1 %, would bring the sizes into any order. Catches: equal copies
    of a seed, whose ranks are closer to the order; rows' errors added to the scatter that has them in it.
    """
    falling = (16 / PLACES**2) * np.tile([0.99, 1.0, 1.01], 4)
    of = of_seeds(falling, falling, error=float(falling.max()))
    points = [point.model_dump() for point in of.claims[0].named()]
    judged = trend(points=points, along="cost.multiply_adds", columns=["metric.kid"], below=0)
    by_rank, by_log = judge(judged, of)
    assert (by_rank.value, by_rank.low, by_rank.high) == (pytest.approx(-largest_of_ranks(PLACES), abs=1e-9),) * 3
    assert by_rank.formula == "over 12 points, some at one place: at most 0.97 in size"
    assert by_log.low <= by_log.value <= by_log.high < -0.999
    assert (by_rank.word, by_log.word, by_log.formula) == ("supported", "supported", "over 12 points")


def test_the_largest_correlation_of_ranks() -> None:
    """Against every order of six figures at three places, exhaustively; 1 without ties. Catches: the limit of other places."""
    places = np.array([1.0, 1.0, 1.0, 2.0, 4.0, 4.0])
    orders = np.array(list(permutations(range(6)))).T
    found = correlated(np.repeat(places[:, None], orders.shape[1], axis=1), orders, "rank")
    assert largest_of_ranks(places) == pytest.approx(found.max(), abs=1e-12)
    assert found.max() < 0.95
    assert largest_of_ranks(np.array([3.0, 1.0, 2.0])) == 1


def test_falling_needs_below_zero(folder: Path) -> None:
    """A weak fall falls, a rise does not, and without errors no correlation is no fall. Catches: strength asked of a sign."""
    weak = {"metric.fd": {2: (6.0, 1e-3), 3: (2.0, 1e-3), 4: (5.0, 1e-3), 5: (3.0, 1e-3)}}
    by_rank, by_log = judge(trend(below=0), evidence(folder, weak))
    assert (by_rank.value, by_rank.word, by_log.word) == (pytest.approx(-0.4), "supported", "supported")
    rising = {"metric.fd": {steps: (float(steps), 1e-3) for steps in (2, 3, 4, 5)}}
    assert words(trend(below=0), evidence(folder, rising)) == ["refuted", "refuted"]
    level = {"metric.fd": {2: (1.0, 0.0), 3: (2.0, 0.0), 4: (2.0, 0.0), 5: (1.0, 0.0)}}
    assert words(trend(below=0, methods=["rank"]), evidence(folder, level)) == ["refuted"]


def test_a_printed_correlation_is_of_as_many_points(folder: Path) -> None:
    """As strong as the printed one over as many points, and not compared over others. Catches: -0.93 of twelve asked of four,
    another kind of correlation, a stronger one taken for the same, one of several printed ones that is passed over.
    """
    figures, semi_log = evidence(folder, FALLING), pearsonr(np.log([2, 3, 4, 5]), [8, 4, 2, 1]).statistic
    printed = {"correlation": round(semi_log, 2), "method": "semi-log", "column": "metric.fd", "points": 4}
    both = [printed, printed | {"points": 12}]
    *_, same, other = judge(trend(methods=["rank"], below=0, printed=both), figures)
    assert (same.value, same.word) == (pytest.approx(semi_log), "supported")
    *_, weaker = judge(trend(methods=["rank"], below=0, printed=[printed | {"correlation": -0.8}]), figures)
    assert weaker.word == "refuted"
    assert (other.word, other.reason) == ("not tested", "what is printed is over 12 points, here are 4")


@pytest.mark.parametrize("method", SCALES)
@pytest.mark.parametrize("scatter", [1e-3, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("slope", [-1.0, 0.0, 1.0])
def test_the_value_is_in_its_interval(method: str, scatter: float, slope: float) -> None:
    """Twelve figures of four places, and the same twelve at places of their own. Catches: percentiles alone, which errors
    that count twice bring away from the value; bounds beyond 1.
    """
    generator = np.random.default_rng(3)
    for along in (PLACES, PLACES * np.linspace(1, 1.1, 12)):
        values = slope * np.log(along) + 0.1 * generator.standard_normal(12)
        drawn = fresh_repeats(values, along, generator, 500)
        if drawn is None:
            drawn = values[:, None] + scatter * generator.standard_normal((12, 500))
        draws = correlated(np.repeat(along[:, None], 500, axis=1), np.exp(drawn), method)
        value = float(correlated(along, np.exp(values), method))
        low, high = around(value, draws, (-1.0, 1.0))
        assert -1 <= low <= value <= high <= 1


def test_fresh_repeats_scatter_as_the_repeats_do() -> None:
    """Places of one, two and three figures: means to 0.02, standard deviation to 3 % for sqrt(t's variance) at 40 repeats.

    Catches: the divisor n for the variance, draws of one place about another, and repeats where every place is its own.
    """
    generator = np.random.default_rng(0)
    assert fresh_repeats(np.array([1.0, 2.0]), np.array([1.0, 2.0]), generator, 5) is None
    values, places = np.array([7.0, *(10 + np.tile([-1.0, 1.0], 5))]), np.array([1.0, *np.repeat(2.0, 10)])
    drawn = fresh_repeats(values, places, generator, 100_000)
    assert drawn is not None
    assert np.abs(drawn.mean(axis=1) - [7.0, *np.repeat(10.0, 10)]).max() < 0.02
    # of a t with nine degrees of freedom and the scale s: s^2 = 10 / 9, variance s^2 x 9 / 7
    assert np.abs(drawn.std(axis=1) / (10 / 7) ** 0.5 - 1).max() < 0.03


@pytest.mark.parametrize("method", ["rank", "log-log"])
@pytest.mark.parametrize(("slope", "scatter"), [(-0.5, 0.1), (-0.3, 0.3), (0.0, 0.2)])
def test_intervals_of_seeds_cover(method: str, slope: float, scatter: float) -> None:
    """300 experiments of three seeds at four sizes: 0.91 to 1 of the intervals hold the mean correlation of such
    experiments (0.95 less three standard errors; ranks are coarse, and cover more). Catches: seeds picked with replacement,
    which cover 0.77 to 0.84, and a variance without its own error, 0.85 to 0.91.
    """
    generator, mean = np.random.default_rng(1), slope * np.log(PLACES)[:, None]
    many = np.exp(mean + scatter * generator.standard_normal((12, 20_000)))
    truth = correlated(np.broadcast_to(PLACES[:, None], many.shape), many, method).mean()
    along, held = np.broadcast_to(PLACES[:, None], (12, 400)), 0
    for values in (mean + scatter * generator.standard_normal((12, 300))).T:
        draws = fresh_repeats(values, PLACES, generator, 400)
        low, high = around(
            float(correlated(PLACES, np.exp(values), method)), correlated(along, np.exp(draws), method), (-1.0, 1.0)
        )
        held += low <= truth <= high
    assert held / 300 >= 0.91


@pytest.mark.parametrize("bend", [0.0, 0.1])
@pytest.mark.parametrize("slope", [-0.5, -0.2])
def test_intervals_of_rows_errors_cover(slope: float, bend: float) -> None:
    """300 experiments of eight rows with errors of 10 % about a line, and about one with a bend: at least 0.91 of the
    intervals hold the correlation of the true distances, and leave something out. Catches: percentiles alone, of
    which none holds -1, since errors weaken a correlation and draws have them twice; deviations alone, 0.74.
    """
    generator, along = np.random.default_rng(2), np.geomspace(1, 16, 8)
    mean = (slope * np.log(along) + bend * np.tile([-1.0, 1.0], 4))[:, None]
    truth = float(correlated(along, np.exp(mean[:, 0]), "log-log"))
    repeated, intervals = np.broadcast_to(along[:, None], (8, 400)), []
    for values in (mean + 0.1 * generator.standard_normal((8, 300))).T:
        drawn = np.exp(values[:, None] + 0.1 * generator.standard_normal((8, 400)))
        value = float(correlated(along, np.exp(values), "log-log"))
        intervals.append(around(value, correlated(repeated, drawn, "log-log"), (-1.0, 1.0)))
    low, high = np.array(intervals).T
    assert ((low <= truth + 1e-12) & (truth <= high)).mean() >= 0.91
    assert (high - low).mean() < 0.7
