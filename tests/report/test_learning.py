"""What more training would bring: curves over snapshots of one training, and verdicts that were others at half of it."""

import io

from PIL import Image
from report.made_up import claim

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import Cell, cells_of
from replication.harness.journal import Record
from replication.report.claims import Evidence, judge, markdown_claim
from replication.report.learning import learning_curves, learning_plot


def evidence(distances: dict[tuple[str, int], float]) -> Evidence:
    """experiments/ldm.toml, profile evening, with these distances by label and steps, each with an error of 0.1."""
    experiment = load_experiment("ldm")
    cells = cells_of(experiment, "evening", check=False)
    rows = {}
    for cell in cells:
        if (distance := distances.get((cell.label, cell.sampling.steps))) is not None:
            rows[cell.key] = row(cell, distance)
    return Evidence(experiment, "evening", cells, rows)


def row(cell: Cell, distance: float) -> Record:
    return {
        "cell": cell.key, "label": cell.label, "sampling.steps": cell.sampling.steps, "protocol.n": 3000,
        "protocol.reference_n": 50_000, "protocol.features": 16, "metric.fd": distance, "metric.fd_low": distance - 0.2, "metric.fd_high": distance + 0.2,
        "metric.fd_infinity": distance, "metric.fd_infinity_se": 0.1,
    }  # fmt: skip


BEATS = {"of": ["f = 4 x 50"], "over": "f = 1 x 50", "columns": ["metric.fd_infinity"], "below": 1.0}
WHOLE = {("f = 1", 50): 10.0, ("f = 4", 50): 5.0}


def test_a_verdict_that_was_another_at_half_of_the_training_is_marked() -> None:
    """Refuted at half, supported at the end. Catches a mark where both agree, and one from halves that were not run."""
    beats = claim("ratio", **BEATS)
    turned = evidence(WHOLE | {("f = 1, half", 50): 10.0, ("f = 4, half", 50): 15.0})
    (verdict,) = judge(beats, turned)
    assert (verdict.word, verdict.at_half) == ("supported", "refuted")
    assert "supported § (at half of the training: refuted)" in markdown_claim(beats, turned)
    assert "more training may turn it again" in markdown_claim(beats, turned)
    steady = evidence(WHOLE | {("f = 1, half", 50): 12.0, ("f = 4, half", 50): 7.0})
    for other in (steady, evidence(WHOLE), evidence(WHOLE | {("f = 1, half", 50): 1.0})):
        (verdict,) = judge(beats, other)
        assert (verdict.word, verdict.at_half) == ("supported", "")


def test_halves_are_found_at_the_nearest_number_of_steps() -> None:
    """The row of half is there at 50 steps alone. Catches a claim at 20 steps that is not looked at."""
    beats = claim("ratio", **{**BEATS, "of": ["f = 4 x 20"]})
    (verdict,) = judge(beats, evidence({**WHOLE, ("f = 4", 20): 5.0, ("f = 1, half", 50): 10.0, ("f = 4, half", 50): 15.0}))  # fmt: skip
    assert verdict.at_half == "refuted"


def test_snapshots_of_a_training_sampled_alike_make_a_curve() -> None:
    """By images seen. Catches two trainings in one line, rows at other steps of the sampler, and a curve of one point."""
    of = evidence(
        {("class, a tenth", 20): 9.0, ("class, a quarter", 20): 7.0, ("class, half", 20): 6.0, ("class, guidance 1", 20): 5.0,
         ("class, guidance 1", 100): 4.0, ("class, guidance 2", 20): 3.0, **WHOLE}
    )  # fmt: skip
    (curve,) = learning_curves(list(reversed(of.cells)), of.rows)
    assert curve.name == "class, guidance 1 x 20"
    assert curve.seen == [800 * 256, 2000 * 256, 4000 * 256, 8000 * 256]
    assert [record["metric.fd"] for record in curve.records] == [9.0, 7.0, 6.0, 5.0]
    picture = learning_plot([curve], "FD", "t")
    assert Image.open(io.BytesIO(picture)).size[0] > 800
    assert picture == learning_plot([curve], "FD", "t")
