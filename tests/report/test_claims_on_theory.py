"""Claims that need no training: what is left of x_0 in x_T."""

import math

import numpy as np
import pytest
import torch
from harness.tiny import write_tiny

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.report.claims import Evidence, judge
from replication.report.claims.prior import Prior, divergence, shift_test
from replication.settings import Part

COMMON = {"name": "n", "statement": "s", "citation": "c", "minimum_profile": "cpu"}


@pytest.fixture
def evidence(tmp_path, monkeypatch) -> Evidence:
    monkeypatch.chdir(tmp_path)
    experiment = load_experiment(str(write_tiny(tmp_path)))
    return Evidence(experiment, "cpu", cells_of(experiment, "cpu"), {})


def test_divergence_is_the_textbook_one() -> None:
    """Against torch.distributions, 1e-12; and for alpha = 1e-5 against the series, where rounding would drown it.

    Catches: log sigma for log sigma^2, a mean over pixels instead of their sum.
    """
    images, alpha = torch.tensor([[1.0, -1.0, 0.5], [0.0, 0.2, -0.3]]).double(), 0.3
    sigma = math.sqrt(1 - alpha**2)
    ours, standard = torch.distributions.Normal(alpha * images, sigma), torch.distributions.Normal(0.0, 1.0)
    exact = torch.distributions.kl_divergence(ours, standard).sum(dim=1).mean()
    assert abs(divergence(images, alpha, sigma) - float(exact)) <= 1e-12
    small = divergence(images, 1e-5, math.sqrt(1 - 1e-10))
    assert small == pytest.approx(0.5 * 1e-10 * float(images.square().sum(1).mean()), rel=1e-4)


def test_shift_test_has_the_power_it_states() -> None:
    """Rejection rate of 300 tests against the stated power, within 0.1; and the level where there is no shift.

    Catches: the standard error of one sample where there are two.
    """
    images = torch.full((4, 16), 0.5).double()
    _, power = shift_test(images, 0.025, 1.0, 5000)
    assert 0.3 < power < 0.9
    rejected = [shift_test(images, 0.025, 1.0, 5000, seed)[0] < 0.01 for seed in range(300)]
    assert abs(np.mean(rejected) - power) < 0.1
    assert shift_test(images, 0.0, 1.0, 5000)[1] == pytest.approx(0.01, abs=1e-6)


def test_prior_claim_tells_schedules_apart(evidence: Evidence) -> None:
    """Cosine is near enough, and 20,000 draws could not tell it from noise if it were not; linear cut off at half is neither.

    Catches: a test that cannot fail, and one without power that supports.
    """
    claim = Prior(
        kind="prior", dataset=Part(name="digits"), schedules=[Part(name="cosine")], bits=1e-4, images=20000, **COMMON
    )
    near, test = judge(claim, evidence)
    assert (near.word, test.word) == ("supported", "inconclusive")
    assert "probability of 0.01, under 0.8" in test.reason
    cut = claim.model_copy(update={"schedules": [Part(name="linear")], "end": 0.5})
    assert [v.word for v in judge(cut, evidence)] == ["refuted", "refuted"]
    later = claim.model_copy(update={"minimum_profile": "paper"})
    assert [v.word for v in judge(later, evidence)] == ["not tested", "not tested"]


def test_prior_is_judged_per_dimension(evidence: Evidence) -> None:
    """0.000926 nats per image of 64 values are 2.09e-5 bits per dimension; 48 times as many values say the same.

    Catches: a bar on the whole image, which refutes for 32x32x3 what it supports for 8x8; nats that are called bits.
    """
    claim = Prior(
        kind="prior",
        dataset=Part(name="digits"),
        schedules=[Part(name="linear", T=1000)],
        bits=2.1e-5,
        images=10,
        **COMMON,
    )
    verdict = judge(claim, evidence)[0]
    assert verdict.value == pytest.approx(0.000926 / 64 / math.log(2), rel=1e-3)
    assert verdict.word == "supported"
    images = torch.tensor([[1.0, -1.0, 0.5], [0.0, 0.2, -0.3]]).double()
    assert divergence(images.repeat(1, 48), 0.3, 0.9) == pytest.approx(48 * divergence(images, 0.3, 0.9))


def test_a_dataset_that_is_not_here_is_not_downloaded(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: a report that fetches 170 MB, or stops, for a claim on photographs."""
    monkeypatch.setenv("REPLICATION_DATA", "nothing-here")
    claim = Prior(
        kind="prior", dataset=Part(name="cifar10"), schedules=[Part(name="cosine")], bits=1e-4, images=10, **COMMON
    )
    verdicts = judge(claim, evidence)
    assert {(v.word, v.reason) for v in verdicts} == {("not tested", "dataset cifar10 is not on this machine")}
