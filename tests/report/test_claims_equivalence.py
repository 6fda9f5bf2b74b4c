"""Two points that differ by less than a margin."""

from pathlib import Path

import pytest
from report.made_up import claim, ddim, evidence, only, words

ROWS = {"metric.fd": {2: (1.05, 0.01), 3: (1.0, 0.01), 4: (0.7, 0.01), 5: (1.05, 0.1)}}


def test_the_interval_must_lie_within_the_margin(folder: Path) -> None:
    """+5 % and -30 % of the reference, margin 10 %; the same +5 % with a wide interval; and one not run.

    Catches: a difference that is not significant passing for equivalence, and a margin on one side alone.
    """
    points = [ddim(steps) for steps in (2, 4, 5, 6)]
    judged = claim("equivalence", points=points, reference=ddim(3), columns=["metric.fd"], margin=0.1)
    assert words(judged, evidence(folder, ROWS)) == ["supported", "refuted", "inconclusive", "not tested"]


@pytest.mark.parametrize(
    ("value", "word"), [(1.115, "inconclusive"), (0.885, "inconclusive"), (1.2, "refuted"), (0.8, "refuted")]
)
def test_both_tests_count(folder: Path, value: float, word: str) -> None:
    """Catches: one of the two one-sided tests left out."""
    rows = {"metric.fd": {2: (value, 0.01), 3: (1.0, 0.01)}}
    judged = claim("equivalence", points=[ddim(2)], reference=ddim(3), columns=["metric.fd"], margin=0.1)
    assert only(judged, evidence(folder, rows)).word == word


def test_the_difference_is_a_share_of_the_reference(folder: Path) -> None:
    """10.5 against 10, and 0.105 against 0.1, are both 5 %. Catches: a margin in the column's own units."""
    for scale in (10.0, 0.1):
        rows = {"metric.precision": {2: (1.05 * scale, 0.001 * scale), 3: (scale, 0.001 * scale)}}
        judged = claim("equivalence", points=[ddim(2)], reference=ddim(3), columns=["metric.precision"], margin=0.1)
        verdict = only(judged, evidence(folder, rows))
        assert abs(verdict.value - 0.05) <= 1e-12
        assert verdict.word == "supported"
