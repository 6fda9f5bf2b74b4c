"""Rows of one stream of resamples are judged together, and a table says so; others are not, and it says why."""

from pathlib import Path

import numpy as np
import pytest
import torch
from report.made_up import claim, ddim, evidence, only, row
from torch import Tensor

from replication.harness.experiment import load_experiment
from replication.metrics.uncertainty import Replicates
from replication.report.claims import Claim, Evidence, markdown_claim
from replication.report.claims.claim import Point
from replication.report.claims.draws import percentiles, together
from replication.report.claims.evidence import evidence_of

NOISE = torch.randn(3, 400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
COMMON = NOISE[0]
RATIO = {"of": [ddim(2)], "over": ddim(3), "columns": ["metric.fd_infinity"], "at_least": 1.9}


def rows(folder: Path, *replicates: Tensor, stream: str = "s") -> Evidence:
    """DDIM at 2, 3, ... steps: 2, 1, 1, ..., each with an error of 10 %, and with these replicates."""
    column = "metric.fd_infinity"
    found = evidence(folder, {column: {steps: (2.0 if steps == 2 else 1.0, 0.1) for steps in (2, 3, 4)}})
    for steps, values in enumerate(replicates, 2):
        found.replicates[row(found, steps)["cell"]] = Replicates(stream, {column: values})
    return found


def ratio(**changes: object) -> Claim:
    return claim("ratio", **{**RATIO, **changes})


def test_what_rows_have_in_common_cancels(folder: Path) -> None:
    """2 (1 + 0.1 e) over 1 + 0.1 e is 2 whatever e is; each by itself, it is anything from 1.5 to 2.6.

    Replicates are around a mean of their own. Catches: rows drawn each by itself, the mean of the replicates for the figure.
    """
    verdict = only(ratio(), rows(folder, 7 + 0.2 * COMMON, 9 + 0.1 * COMMON))
    assert (verdict.low, verdict.high) == (pytest.approx(2, abs=1e-9), pytest.approx(2, abs=1e-9))
    assert (verdict.word, verdict.pairing) == ("supported", "r = 1")
    apart = only(ratio(), rows(folder))
    assert apart.word == "inconclusive"
    assert apart.pairing == "not paired: no replicates of DDIM x 2, DDIM x 3"


def test_the_interval_is_that_of_the_joint_draws(folder: Path) -> None:
    """The 2.5 % and 97.5 % quantiles, k / (R + 1), of the ratio of two correlated figures; r as numpy has it.

    Catches: other quantiles, draws that are picked at random from the replicates, r of something else.
    """
    first, second = 0.2 * (0.8 * NOISE[0] + 0.6 * NOISE[1]), 0.1 * (0.8 * NOISE[0] + 0.6 * NOISE[2])
    verdict = only(ratio(), rows(folder, first, second))
    drawn = ((2 + first - first.mean()) / (1 + second - second.mean())).numpy()
    low, high = np.quantile(drawn, [0.025, 0.975], method="weibull")
    assert (verdict.low, verdict.high) == (pytest.approx(low, abs=1e-12), pytest.approx(high, abs=1e-12))
    assert verdict.pairing == f"r = {np.corrcoef(first, second)[0, 1]:.3g}"


def test_replicates_before_calibration_are_the_joint_ones(folder: Path) -> None:
    """Two rows whose own replicates were shrunk by unequal shares. Catches: rows compared by what has less in common."""
    found = rows(folder, 0.2 * COMMON, 0.1 * COMMON)
    for key, replicates in dict(found.replicates).items():
        shrunk = {column: torch.rand(400).double() for column in replicates.values}
        found.replicates[key] = Replicates(replicates.stream, shrunk, replicates.values)
    assert only(ratio(), found).pairing == "r = 1"


def test_a_row_beside_paired_ones_is_drawn_by_itself(folder: Path) -> None:
    """Two rows err alike, the third has no replicates: its error alone is left. Catches: a row without an error."""
    found = rows(folder, 0.2 * COMMON, 0.1 * COMMON)
    apart = only(ratio(of=[ddim(4)]), found)
    assert apart.pairing == "not paired: no replicates of DDIM x 4"
    gap = claim(
        "tradeoff", candidate=ddim(3), reference=ddim(4), baseline=ddim(2), bad=ddim(2), quality={"about": 1}, speed={"about": 1}
    )  # fmt: skip
    (paired,) = (v for v in gap.judge(found) if v.definition == "FD-digits-infinity gap closed")
    assert paired.pairing == "r = 1; not paired: no replicates of DDIM x 4"
    assert paired.low is not None
    assert paired.low < 0.95


@pytest.mark.parametrize("column", ["protocol.reference", "recipe.dataset"])
def test_rows_of_other_images_or_draws_are_not_paired(folder: Path, column: str) -> None:
    """As many images of another dataset give the same stream. Catches: counts of unlike images taken for joint draws."""
    alike = rows(folder, 0.2 * COMMON, 0.1 * COMMON)
    row(alike, 3)[column] = "another"
    other = rows(folder, 0.2 * COMMON, 0.1 * COMMON)
    key = row(other, 3)["cell"]
    other.replicates[key] = Replicates("another", other.replicates[key].values)
    for found in (alike, other):
        assert only(ratio(unequal=True), found).pairing == "not paired: the rows were resampled by other draws"


def test_replicates_of_another_number_are_refused_by_name(folder: Path) -> None:
    """Catches: replicates that are cut to the shorter of two."""
    verdict = only(ratio(), rows(folder, 0.2 * COMMON, 0.1 * COMMON[:200]))
    assert verdict.word == "not tested"
    assert verdict.reason == (
        "the replicates of one stream are not as many in every row: 400 of DDIM x 2, 200 of DDIM x 3"
    )


@pytest.mark.parametrize("metric", ["fd", "sfd", "cmmd"])
@pytest.mark.parametrize("of", ["n", "reference_n"])
def test_biased_distances_judge_from_100_images_a_feature_on(folder: Path, metric: str, of: str) -> None:
    """1,600 images, D = 16: at the threshold, and one image below, generated or real.

    Catches: ratios that the bias of few images pulls towards 1, a small reference behind many generated images.
    """
    found = evidence(folder, {f"metric.{metric}": {2: (2.0, 0.01), 3: (1.0, 0.01)}})
    plain = ratio(columns=[f"metric.{metric}"])
    assert only(plain, found).word == "supported"
    for steps in (2, 3):
        row(found, steps)[f"protocol.{of}"] = 1599
    verdict = only(plain.model_copy(update={"name": "below"}), found)
    assert verdict.word == "not tested"
    assert f"{of.replace('_', ' ')} = 1,599" in verdict.reason
    assert "metric.fd_infinity" in verdict.reason


def test_the_table_says_how_rows_are_paired(folder: Path) -> None:
    """Catches: a correlation that is nowhere to be seen."""
    text = markdown_claim(ratio(), rows(folder, 0.2 * COMMON, 0.1 * COMMON))
    assert "| rows paired |" in text
    assert "| r = 1       |" in text


RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.skipif(
    not (RESULTS / "samplers-cpu-replicates.safetensors").exists(), reason="replicates are not committed"
)
@pytest.mark.parametrize(
    ("first", "second", "expected", "r"),
    [
        ("DDIM x 50", "DDIM x 100", (1.018, 0.985, 1.049), 0.997),
        ("DDIM x 20", "DDIM x 100", (1.166, 1.033, 1.279), 0.968),
        ("DPM++ 2M x 20", "DDIM x 20", (0.827, 0.704, 0.991), 0.913),
    ],
)
def test_ratios_of_the_committed_samplers(
    tmp_path: Path, first: str, second: str, expected: tuple[float, float, float], r: float
) -> None:
    """The plain FD at n = 1,000, from 200 resamples: to 0.01, and r to 0.002. Each by itself, the first is 0.7 to 1.5.

    The ends are those of these very draws. The lower one of the last ratio is the fifth smallest of 200, 0.704, beside a third of
    0.670: drawn again from them it lies between 0.665 and 0.719 in 95 % of cases, so that other 200 resamples, which gave
    0.655, are about as far off as two such ends may be. The upper ends, 0.991 and 0.988, agree.

    Catches: replicates that were drawn anew for each row, and those that calibration has shrunk (r = 0.96 for the first).
    """
    found = evidence_of(load_experiment("samplers"), "cpu", tmp_path, RESULTS)
    rows = {point: found.row(point) for point in map(Point.model_validate, (first, second))}
    drawn = together([(point, "metric.fd") for point in rows], rows, np.random.default_rng(0))
    above, below = drawn.figures.values()
    value = np.divide(*(measured.record["metric.fd"] for measured in rows.values()))
    assert (value, *percentiles(value, above / below)) == pytest.approx(expected, abs=0.01)
    assert float(drawn.pairing.removeprefix("r = ")) == pytest.approx(r, abs=2e-3)
