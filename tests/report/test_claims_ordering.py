"""Points in an order, neighbours compared."""

from pathlib import Path

from report.made_up import claim, ddim, evidence, judge, words

FALLING = {"metric.fd": {2: (4.0, 0.1), 3: (2.0, 0.1), 4: (1.9, 0.1), 5: (3.0, 0.1)}}


def test_each_pair_has_its_own_word(folder: Path) -> None:
    """4, 2, 1.9, 3 with errors of 0.1, then one not run. Catches: only the ends compared, or the direction ignored."""
    points = [ddim(steps) for steps in (2, 3, 4, 5, 6)]
    judged = claim("ordering", points=points, falling=["metric.fd"])
    assert words(judged, evidence(folder, FALLING)) == ["supported", "inconclusive", "refuted", "not tested"]
    turned = claim("ordering", points=points[::-1], rising=["metric.fd"])
    assert words(turned, evidence(folder, FALLING)) == ["not tested", "refuted", "inconclusive", "supported"]


def test_columns_may_go_opposite_ways(folder: Path) -> None:
    """Precision rises while recall falls. Catches: one direction for all columns."""
    rows = {"metric.precision": {2: (0.5, 0.01), 3: (0.7, 0.01)}, "metric.recall": {2: (0.9, 0.01), 3: (0.6, 0.01)}}
    trade = claim("ordering", points=[ddim(2), ddim(3)], rising=["metric.precision"], falling=["metric.recall"])
    assert words(trade, evidence(folder, rows)) == ["supported", "supported"]
    other = claim("ordering", points=[ddim(2), ddim(3)], rising=["metric.recall"], falling=["metric.precision"])
    assert words(other, evidence(folder, rows)) == ["refuted", "refuted"]


def test_figures_may_be_negative(folder: Path) -> None:
    """KID of -0.01, then 0.02. Catches: an order by ratio, which a sign would turn."""
    rows = evidence(folder, {"metric.kid": {2: (-0.01, 0.001), 3: (0.02, 0.001)}})
    (verdict,) = judge(claim("ordering", points=[ddim(2), ddim(3)], rising=["metric.kid"]), rows)
    assert verdict.word == "supported"
    assert abs(verdict.value - 0.03) <= 1e-12


def test_equal_exact_figures_are_in_no_order(folder: Path) -> None:
    """Catches: a tie that counts as rising and as falling."""
    rows = evidence(folder, {"metric.precision": {2: (1.0, 0.0), 3: (1.0, 0.0)}})
    for direction in ("rising", "falling"):
        assert words(claim("ordering", points=[ddim(2), ddim(3)], **{direction: ["metric.precision"]}), rows) == [
            "refuted"
        ]
