"""Power laws: their exponents, the scatter about them and what they say of the largest size; on the committed rows too."""

import csv
from pathlib import Path

import numpy as np
import pytest
from report.made_up import PLACES, claim, judge, of_seeds

from replication.report.claims import Evidence, Verdict
from replication.report.claims.draws import around, fresh_repeats
from replication.report.claims.power_law import exponent, extrapolation, scatter
from replication.report.claims.verdict import NotTested

RESULTS = Path(__file__).parents[2] / "results"
FREE, SIZE = (-np.inf, np.inf), (0.0, np.inf)
BEND = np.repeat([1.0, -1.0, -1.0, 1.0], 3)  # in log y, orthogonal to a line over PLACES


def committed(family: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Multiply-adds and figures of a family in results/scaling-cpu.csv."""
    with (RESULTS / "scaling-cpu.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"].startswith(f"{family},")]
    x, y = (np.array([float(row[c]) for row in rows]) for c in ("cost.multiply_adds", column))
    assert len(x) == 12
    return x, y


@pytest.mark.parametrize(("family", "of_scatter", "of_extrapolation"), [("DiT", 0.060, -0.07), ("U-Net", 0.125, 0.35)])
def test_known_answers_of_the_committed_rows(family: str, of_scatter: float, of_extrapolation: float) -> None:
    """On the plain FD, what another program measured on rows of other trainings, by 0.002. Catches: a scatter of the sizes' means (0.024 and
    0.096), one divided by the degrees of freedom (0.065 and 0.136), a fit to all sizes that says what the largest is.
    """
    x, y = committed(family, "metric.fd")
    assert float(scatter(x, y)) == pytest.approx(of_scatter, abs=2e-3)
    assert float(extrapolation(x, y)) == pytest.approx(of_extrapolation, abs=0.01)


def test_an_exact_law_and_one_with_known_residuals() -> None:
    """y = 3 x^-0.4 has that exponent, no scatter and no error; a bend of 0.1 in log y is a scatter of 0.1. 1e-12.

    By hand, the three smaller of the bend have means 0.1, -0.1, -0.1 at log x = 0, 1, 2 (log 2): slope -0.1, so that
    they say -0.2333 where it is 0.1. Catches: the sign of the exponent, logarithms to base 10, measured and predicted exchanged.
    """
    law = 3 * PLACES**-0.4
    assert exponent(PLACES, law) == pytest.approx(0.4, abs=1e-12)
    assert abs(scatter(PLACES, law)) + abs(extrapolation(PLACES, law)) <= 1e-12
    bent = law * np.exp(0.1 * BEND)
    assert (exponent(PLACES, bent), scatter(PLACES, bent)) == (pytest.approx(0.4), pytest.approx(0.1))
    assert extrapolation(PLACES, bent) == pytest.approx(0.1 + 0.7 / 3, abs=1e-12)


def test_each_draw_is_fitted_by_itself() -> None:
    """[P,draws] against column by column, 1e-12. Catches: one fit to all draws together."""
    draws = np.exp(np.random.default_rng(0).standard_normal((12, 5)))
    along = np.repeat(PLACES[:, None], 5, axis=1)
    for of in (exponent, scatter, extrapolation):
        apart = [float(of(PLACES, draws[:, i])) for i in range(5)]
        assert np.abs(of(along, draws) - apart).max() <= 1e-12


def test_what_has_no_power_law() -> None:
    """Catches: a logarithm of what is not positive, a slope of a single place."""
    with pytest.raises(NotTested, match="no logarithm"):
        scatter(PLACES, 1 - PLACES)
    with pytest.raises(NotTested, match="at least two places"):
        extrapolation(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(("bend", "noise"), [(0.0, 0.06), (0.1, 0.06), (0.1, 0.1), (0.3, 0.05)])
def test_intervals_over_seeds_cover(bend: float, noise: float) -> None:
    """300 experiments of three seeds at four sizes: at least 0.91 of the intervals hold the truth, and they leave 0 out where
    the bend is plain. The truth of the scatter is its root mean square over such experiments.

    Catches: the scatter as a draw of itself, without its bias (0.86 and less), the pooled variance as if it were known.
    """
    generator = np.random.default_rng(4)
    mean = (-0.25 * np.log(PLACES) + bend * BEND)[:, None]
    many = np.exp(mean + noise * generator.standard_normal((12, 20_000)))
    along = np.repeat(PLACES[:, None], 400, axis=1)
    truths = {
        exponent: 0.25,
        extrapolation: float(extrapolation(PLACES, np.exp(mean[:, 0]))),
        scatter: float(np.sqrt((scatter(np.repeat(PLACES[:, None], 20_000, axis=1), many) ** 2).mean())),
    }
    held = dict.fromkeys(truths, 0)
    for values in (mean + noise * generator.standard_normal((12, 300))).T:
        drawn = fresh_repeats(values, PLACES, generator, 400)
        assert drawn is not None
        for of, truth in truths.items():
            within = SIZE if of is scatter else FREE
            low, high = around(float(of(PLACES, np.exp(values))), of(along, np.exp(drawn)), within)
            held[of] += low <= truth <= high
            assert of is not scatter or bend < 0.3 or low > 0.1
    assert min(held.values()) / 300 >= 0.91


def predictably(of: Evidence) -> dict[str, Verdict]:
    """The verdicts of FD-infinity, by what they are about."""
    (judged,) = (c for c in of.claims if c.name == "transformers-scale-more-predictably")
    found = {v.definition: v for v in judge(judged, of)}
    return {name.partition(": ")[2]: v for name, v in found.items() if name.startswith("FD")}


def test_the_family_with_less_scatter_is_the_more_predictable() -> None:
    """One per cent of noise against a bend of 0.5, and the other way round; what stands beside is not judged.

    Catches: the sides exchanged, correlations that count, a side's own figure in the other's place.
    """
    noise = np.tile([-0.01, 0.0, 0.01], 4)
    straight, bent = 8 / PLACES * np.exp(noise), 8 / PLACES * np.exp(noise + 0.5 * BEND)
    found = predictably(of_seeds(straight, bent))
    judged = {name: v.word for name, v in found.items() if v.word != "not judged"}
    assert judged == {
        "exponent, DiT": "supported",
        "scatter, DiT less U-Net": "supported",
        "extrapolation, DiT less U-Net": "supported",
    }
    assert found["scatter, U-Net"].value == pytest.approx(0.5, abs=0.01)
    assert found["scatter, DiT"].value == pytest.approx(0.01 * (2 / 3) ** 0.5)
    assert found["rank correlation, DiT"].value == pytest.approx(-0.9716, abs=5e-5)
    assert all(v.p is None for name, v in found.items() if name not in judged)
    turned = predictably(of_seeds(bent, straight))
    assert turned["scatter, DiT less U-Net"].word == turned["extrapolation, DiT less U-Net"].word == "refuted"


def test_a_family_that_rises_does_not_scale() -> None:
    """A perfect rise has the smaller scatter, and its exponent says no. Catches: predictability without the direction."""
    noise = np.tile([-0.01, 0.0, 0.01], 4)
    of = of_seeds(8 * PLACES * np.exp(noise), 8 / PLACES * np.exp(noise + 0.5 * BEND))
    found = predictably(of)
    assert (found["exponent, DiT"].word, found["scatter, DiT less U-Net"].word) == ("refuted", "supported")
    (judged,) = (c for c in of.claims if c.name == "transformers-scale-more-predictably")
    assert judged.answer(judge(judged, of)).startswith("No by FD-digits-infinity: exponent, DiT (-1 ")


def test_more_closely_than_what_has_no_law_is_no_finding() -> None:
    """U-Nets that scatter about a level. Catches: "more predictably" than networks that do not scale at all."""
    noise = np.tile([-0.01, 0.0, 0.01], 4)
    found = predictably(of_seeds(8 / PLACES * np.exp(noise), 8 * np.exp(0.5 * BEND + noise)))
    less = found["scatter, DiT less U-Net"]
    assert found["exponent, U-Net"].low <= 0 < found["exponent, DiT"].low
    assert less.high < 0
    assert (less.word, less.p) == ("inconclusive", None)
    assert less.reason.endswith("it has no law to follow")


def test_both_columns_along_see_the_same_seeds() -> None:
    """Parameters that are ten times the multiply-adds: no draw can tell them apart. Catches: seeds drawn once for each."""
    distances = 8 / PLACES * np.exp(0.5 * np.random.default_rng(0).standard_normal(12))
    of = of_seeds(distances, distances)
    points = [point.model_dump() for point in of.claims[0].named()]
    compared = claim(
        "power-law", points=points, columns=["metric.kid"], along="cost.multiply_adds", than_along="cost.parameters",
        measures=["scatter"],
    )  # fmt: skip
    (difference,) = (v for v in judge(compared, of) if "less" in v.definition)
    assert max(abs(difference.low), abs(difference.high)) <= 1e-12
    assert difference.definition == "KID-digits: scatter, along multiply-adds less along parameters"
