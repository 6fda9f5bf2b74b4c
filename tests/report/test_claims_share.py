"""How much of the variance goes with evaluations and with steps: by hand, and on the committed rows."""

import csv
from pathlib import Path

import numpy as np
import pytest
from report.made_up import claim, evidence, judge

from replication.report.claims.share import explained_by_falling, explained_by_groups

RESULTS = Path(__file__).parents[2] / "results"


def committed(counted: str, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of the plain FD of results/samplers-cpu.csv, and the counts, within a range."""
    with (RESULTS / "samplers-cpu.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if low <= int(row[counted]) <= high]
    return np.log([float(row["metric.fd"]) for row in rows]), np.array([int(row[counted]) for row in rows])


@pytest.mark.parametrize(("low", "high", "share"), [(5, 100, 0.57), (10, 100, 0.17), (20, 100, 0.05)])
def test_known_answers_of_the_committed_rows(low: int, high: int, share: float) -> None:
    """Of steps, on the plain FD, to the digits that were measured by another program; evaluations explain more of it, and less
    the later the range begins. Catches: another range than the stated one, the 1000 steps of a row that has no others.
    """
    of_steps = float(explained_by_groups(*committed("sampling.steps", low, high)))
    assert of_steps == pytest.approx(share, abs=5e-3)
    assert of_steps < float(explained_by_falling(*committed("sampling.nfe", low, high))) < share + 0.13


def test_eta_squared_by_hand() -> None:
    """All between groups is 1, none is 0, and a case worked by hand. Catches: groups not weighted by their size."""
    two = np.array([1, 1, 2, 2])
    assert explained_by_groups(np.array([[1.0], [1.0], [3.0], [3.0]]), two) == pytest.approx(1.0)
    assert explained_by_groups(np.array([[1.0], [3.0], [1.0], [3.0]]), two) == pytest.approx(0.0)
    # mean 2; between: 3 (1 - 2)^2 + 1 (5 - 2)^2 = 12; total: 4 + 0 + 1 + 9 = 14
    assert explained_by_groups(np.array([0.0, 2.0, 1.0, 5.0]), np.array([7, 7, 7, 9])) == pytest.approx(12 / 14)


def test_the_best_falling_function_by_hand_and_against_scipy() -> None:
    """5, 1, 3, 0 over 1 to 4: 1 and 3 are pooled to 2, squares 2 of 14.75; random ones against scipy's, 1e-12.

    Catches: a mean for each count, which rises and explains all of it; a rising function, pools without their sizes.
    """
    from scipy.optimize import isotonic_regression

    values = np.array([5.0, 1.0, 3.0, 0.0])
    assert explained_by_falling(values, np.array([1, 2, 3, 4])) == pytest.approx(1 - 2 / 14.75)
    assert explained_by_falling(-values, np.array([1, 2, 3, 4])) < 0.2
    generator = np.random.default_rng(0)
    counts, draws = (
        np.sort(generator.integers(0, 8, size=30)),
        generator.standard_normal((30, 6)) - np.arange(30)[:, None] / 20,
    )
    for i, found in enumerate(explained_by_falling(draws, counts)):
        _, group, sizes = np.unique(counts, return_inverse=True, return_counts=True)
        means = np.bincount(group, draws[:, i]) / sizes
        fit = isotonic_regression(means, weights=sizes, increasing=False).x[group]
        assert found == pytest.approx(1 - ((draws[:, i] - fit) ** 2).sum() / (30 * draws[:, i].var()), abs=1e-12)


def test_each_range_has_its_answer(folder: Path) -> None:
    """8, 4, 2, 2, 2 over 2 to 6 steps: all of it falls with the steps, of which there is nothing left from 5 on.

    Catches: cells beyond the range, one answer for all ranges, a range without two counts that passes.
    """
    rows = evidence(
        folder, {"metric.fd": {2: (8.0, 0.01), 3: (4.0, 0.01), 4: (2.0, 0.01), 5: (2.5, 0.01), 6: (2.0, 0.01)}}
    )
    judged = claim("share", share=0.9, ranges=[[2, 6], [4, 5], [7, 9]], columns=["metric.fd"])
    verdicts = judge(judged, rows)
    assert [v.word for v in verdicts] == ["supported", "refuted", "not tested", "supported", "supported", "not tested"]
    assert verdicts[0].definition == "FD-digits: share of NFE 2 to 6"
    assert verdicts[1].value == pytest.approx(0.0)  # from 4 to 5 it rises
    beyond = claim("share", share=0.9, ranges=[[2, 100]], columns=["metric.fd"])
    assert [v.definition for v in judge(beyond, rows)][1] == "FD-digits: share of steps 2 to 6"  # up to what there is
    assert verdicts[2].reason == "the cells have no two counts from 7 to 9"
    plain = claim("share", share=0.9, ranges=[[2, 6], [2, 4]], columns=["metric.fd"])
    assert plain.answer(judge(plain, rows)) == (
        "Yes: of the variance of log FD-digits, evaluations explain 98 % from 2 to 6 and 100 % from 2 to 4, and step counts 100 % "
        "from 2 to 6 and 100 % from 2 to 4; 90 % are needed, and the range decides how much it is."
    )


def test_the_answer_has_every_column(folder: Path) -> None:
    """KID rises from 3 to 4 steps, which takes 2 % of its variance. Catches: the shares of the first column for all."""
    of = {"metric.fd": (8.0, 4.0, 2.0, 2.0, 2.0), "metric.kid": (8.0, 2.0, 2.5, 2.0, 2.0)}
    rows = {column: {steps: (value, 0.01) for steps, value in enumerate(values, 2)} for column, values in of.items()}
    judged = claim("share", share=0.9, ranges=[[2, 4]], columns=list(of))
    text = judged.answer(judge(judged, evidence(folder, rows)))
    assert text.startswith(
        "Yes: of the variance of log FD-digits, evaluations explain 100 % from 2 to 4, and step counts 100 % from 2 to 4; "
        "of log KID-digits, evaluations explain 98 % from 2 to 4, and step counts 100 % from 2 to 4; 90 % are needed"
    )
