"""How one column goes with another over points."""

from pathlib import Path

import numpy as np
import pytest
from report.made_up import claim, ddim, evidence, judge, words
from scipy.stats import pearsonr, spearmanr

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.harness.journal import Record
from replication.report.claims import Evidence, claims_of
from replication.report.claims.trend import SCALES, around, correlated, correlation, fresh_repeats, logarithms, ranks
from replication.report.claims.verdict import Range

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


def test_closeness_against_other_points(folder: Path) -> None:
    """8, 4, 2 falls as closely as can be, and 2, 5, 3 rises by 0.5. Catches: the others left out, the wrong sign."""
    rows = {"metric.fd": {2: (8.0, 0.01), 3: (4.0, 0.01), 4: (2.0, 0.01), 5: (5.0, 0.01), 6: (3.0, 0.01)}}
    straight, crooked = [ddim(steps) for steps in (2, 3, 4)], [ddim(steps) for steps in (4, 5, 6)]
    falling = {"direction": "falling", "above": 0}
    verdict = judge(trend(points=straight, than=crooked, **falling), evidence(folder, rows))[0]
    assert (verdict.value, verdict.word) == (pytest.approx(1.5), "supported")
    turned = judge(trend(points=crooked, than=straight, **falling), evidence(folder, rows))[0]
    assert (turned.value, turned.word) == (pytest.approx(-1.5), "refuted")
    rising = judge(trend(points=crooked, than=straight, direction="rising", above=0), evidence(folder, rows))[0]
    assert (rising.value, rising.word) == (pytest.approx(1.5), "supported")


def test_a_family_that_rises_loses(folder: Path) -> None:
    """1, 2, 4 against 8, 7.9, 3: it rises without fail, by both methods. Catches: sizes of correlations compared."""
    rows = {"metric.fd": {2: (1.0, 0.01), 3: (2.0, 0.01), 4: (8.0, 0.01), 5: (7.9, 0.01), 6: (3.0, 0.01)}}
    rising, falling = [ddim(steps) for steps in (2, 3, 4)], [ddim(steps) for steps in (4, 5, 6)]
    judged = trend(points=rising, than=falling, direction="falling", above=0)
    assert words(judged, evidence(folder, rows)) == ["refuted", "refuted"]


def test_a_tie_is_inconclusive(folder: Path) -> None:
    """Two families that fall in perfect order, 0 in [0, 0]: neither is the stronger, each is at least as strong.

    Catches: an interval that touches the bound of "above", and 1e-17 for 0.
    """
    rows = {"metric.fd": {2: (9.0, 0.01), 3: (7.0, 0.01), 4: (4.0, 0.01), 5: (2.0, 0.01), 6: (1.0, 0.01)}}
    tied = {"methods": ["rank"], "points": ALL, "than": [ddim(steps) for steps in (3, 4, 5, 6)], "direction": "falling"}
    above = judge(trend(above=0, **tied), evidence(folder, rows))[0]
    assert (above.value, above.low, above.high, above.word, str(above.needed)) == (0, 0, 0, "inconclusive", "above 0")
    assert words(trend(at_least=0, **tied), evidence(folder, rows)) == ["supported"]
    assert [Range(low=0.0, open=True).word(*interval) for interval in ((0.0, 1.0), (0.1, 1.0), (-1.0, -0.1))] == [
        "inconclusive", "supported", "refuted",
    ]  # fmt: skip


def test_methods_are_those_that_are_asked_for(folder: Path) -> None:
    """8, 4, 2, 1 over 2 to 5. Catches: a method that is judged without being asked for, and logarithms of the wrong one."""
    verdicts = judge(trend(methods=["semi-log", "rank"], at_most=-0.9), evidence(folder, FALLING))
    assert [v.definition.split()[0] for v in verdicts] == ["semi-log", "rank"]
    expected = pearsonr(np.log([2, 3, 4, 5]), [8, 4, 2, 1]).statistic
    assert verdicts[0].value == pytest.approx(expected, abs=1e-12)


def test_strength_against_another_column(folder: Path) -> None:
    """FD follows the steps and IS does not; what it is compared with is in words. Catches: the other column left out."""
    steps = {2: (1.0, 0.0), 3: (4.0, 0.0), 4: (2.0, 0.0), 5: (3.0, 0.0)}
    falling = {"direction": "falling", "above": 0}
    rows = {**FALLING, "metric.is": steps}
    verdict = judge(trend(methods=["rank"], than_along="metric.is", **falling), evidence(folder, rows))[0]
    assert verdict.value == pytest.approx(1 - 0.4)
    assert verdict.formula == "how closely it is falling over 4 points - with IS-digits, over 4 points"


PLACES = np.repeat([1.0, 2.0, 4.0, 8.0], 3)  # four sizes, three seeds each


def of_seeds(dit: np.ndarray, unet: np.ndarray, error: float = 0.0) -> Evidence:
    """experiments/scaling.toml with these distances [12] of either family at PLACES, parameters ten times the places."""
    experiment = load_experiment("scaling")
    cells = cells_of(experiment, "cpu")
    rows: dict[str, Record] = {}
    for family, distances in (("DiT", dit), ("U-Net", unet)):
        mine = sorted((cell for cell in cells if cell.label.startswith(family)), key=lambda cell: cell.label)
        for cell, place, distance in zip(mine, PLACES, distances, strict=True):
            rows[cell.key] = {
                "cell": cell.key, "label": cell.label, "sampling.steps": 50, "metric.fd": float(distance),
                "metric.fd_se": error, "protocol.n": 1600, "protocol.features": 16, "cost.multiply_adds": place, "cost.parameters": 10 * place,
            }  # fmt: skip
    return Evidence(experiment, "gpu", cells, rows, claims_of(experiment))


def test_seeds_in_perfect_order_have_their_value_in_its_interval() -> None:
    """Sizes that no seed confuses, and errors that count once: the rank correlation is -0.9716 whatever the seeds.

    Errors as large as the largest distance, beside seeds that differ by 1 %, would bring the sizes into any order. Catches: equal copies
    of a seed, whose ranks are closer to the order; rows' errors added to the scatter that has them in it.
    """
    falling = (16 / PLACES**2) * np.tile([0.99, 1.0, 1.01], 4)
    of = of_seeds(falling, falling, error=float(falling.max()))
    claims = {claim.name: claim for claim in of.claims}
    by_rank, by_log = judge(claims["dit-scales-with-compute"], of)
    assert (by_rank.value, by_rank.low, by_rank.high) == (pytest.approx(-0.9716, abs=5e-5),) * 3
    assert by_log.low <= by_log.value <= by_log.high < -0.999
    predictably = judge(claims["transformers-scale-more-predictably"], of)[0]
    assert (predictably.low, predictably.high, predictably.word) == (0, 0, "inconclusive")


def test_a_rising_family_of_seeds_is_not_predictable() -> None:
    """The transformer's distance rises without fail, the U-Net's falls with scatter. Catches: the sign of r dropped."""
    noise = np.exp(0.2 * np.random.default_rng(0).standard_normal(12))
    of = of_seeds(PLACES * np.tile([0.99, 1.0, 1.01], 4), 8 / PLACES * noise)
    (claim,) = (c for c in of.claims if c.name == "transformers-scale-more-predictably")
    assert words(claim, of) == ["refuted", "refuted"]


def test_both_columns_along_see_the_same_seeds() -> None:
    """Parameters that are ten times the multiply-adds: no draw can tell them apart. Catches: seeds drawn once for each."""
    distances = 8 / PLACES * np.exp(0.5 * np.random.default_rng(0).standard_normal(12))
    of = of_seeds(distances, distances)
    points = [point.model_dump() for point in of.claims[0].named()]
    compared = trend(
        points=points, along="cost.multiply_adds", than_along="cost.parameters", direction="falling", above=0
    )
    assert {(v.value, v.low, v.high, v.word) for v in judge(compared, of)} == {(0, 0, 0, "inconclusive")}


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
        low, high = around(value, draws, 1.0)
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
            float(correlated(PLACES, np.exp(values), method)), correlated(along, np.exp(draws), method), 1.0
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
        intervals.append(around(value, correlated(repeated, drawn, "log-log"), 1.0))
    low, high = np.array(intervals).T
    assert ((low <= truth + 1e-12) & (truth <= high)).mean() >= 0.91
    assert (high - low).mean() < 0.7
