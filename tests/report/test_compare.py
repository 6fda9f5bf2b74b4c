"""Two rows side by side, and rows that may not stand there."""

import pytest

from replication.report.compare import comparison
from replication.types import InputError

LABELS = {"fd": "FD-digits", "kid": "KID-digits", "is": "IS-digits"}


def row(fd: float, se: float, **columns: object) -> dict[str, object]:
    equal = {
        "experiment": "ddpm",
        "label": "DDIM",
        "sampling.steps": 20,
        "protocol.n": 500,
        "protocol.extractor": "digits-cnn",
    }
    return {**equal, "metric.fd": fd, "metric.fd_se": se, "metric.kid": 0.01, **columns}


@pytest.mark.parametrize(
    ("fd", "word"), [(2.0, "higher"), (0.1, "lower"), (1.2, "no difference seen")], ids=["higher", "lower", "same"]
)
def test_a_difference_is_one_where_its_interval_leaves_zero_out(fd: float, word: str) -> None:
    """Standard errors 0.09 and 0.12 add up to 0.15. Catches errors that are added, or left out of one row."""
    table = comparison(row(1.0, 0.09), row(fd, 0.12), LABELS)
    assert table.splitlines()[-1].endswith(f"{word} |") or word in table
    assert f"[{fd - 1 - 0.294:+.3g}, {fd - 1 + 0.294:+.3g}]" in table
    assert "KID" not in table  # it has no error in these rows


def test_unequal_rows_are_refused_or_marked() -> None:
    unequal = row(1.1, 0.1, **{"protocol.n": 50})
    with pytest.raises(InputError, match="n 500 against 50"):
        comparison(row(1.0, 0.1), unequal, LABELS)
    asked = comparison(row(1.0, 0.1), unequal, LABELS, unequal=True)
    assert "FD-digits†" in asked
    assert asked.endswith("† unequal: n 500 against 50")
