"""Claims that need no training: what is left of x_0 in x_T. And the share of a factor, by hand."""

import math

import numpy as np
import pytest
import torch
from harness.tiny import write_tiny

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.report.claims import Evidence, judge
from replication.report.claims.prior import Prior, divergence, shift_test
from replication.report.claims.share import eta_squared
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
    """Cosine passes both readings; linear cut off at half passes neither. Catches: a test that cannot fail."""
    claim = Prior(
        kind="prior", dataset=Part(name="digits"), schedules=[Part(name="cosine")], nats=0.01, images=20000, **COMMON
    )
    assert [v.word for v in judge(claim, evidence)] == ["supported", "supported"]
    cut = claim.model_copy(update={"schedules": [Part(name="linear")], "end": 0.5})
    assert [v.word for v in judge(cut, evidence)] == ["refuted", "refuted"]
    later = claim.model_copy(update={"minimum_profile": "paper"})
    assert [v.word for v in judge(later, evidence)] == ["not tested", "not tested"]


def test_eta_squared_by_hand() -> None:
    """All between groups is 1, none is 0, and a case worked by hand. Catches: groups not weighted by their size."""
    assert eta_squared(np.array([[1.0], [1.0], [3.0]]), ["a", "a", "b"]) == pytest.approx(1.0)
    assert eta_squared(np.array([[1.0], [3.0], [1.0], [3.0]]), ["a", "a", "b", "b"]) == pytest.approx(0.0)
    # mean 2; between: 3 (1 - 2)^2 + 1 (5 - 2)^2 = 12; total: 4 + 0 + 1 + 9 = 14
    assert eta_squared(np.array([[0.0], [2.0], [1.0], [5.0]]), ["a", "a", "a", "b"]) == pytest.approx(12 / 14)
