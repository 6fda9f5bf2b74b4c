"""Claims that need no training: what is left of x_0 in x_T."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from harness.tiny import write_tiny

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.report.claims import Evidence, judge
from replication.report.claims.prior import Prior, divergence, p_of_no_shift, p_of_shift, power_at, shift_z
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
    """Over 300 tests: the rejection rate is the stated power, within 0.1, at a shift of 2.5 standard errors, and the level at none;
    such a shift is taken for none in 2.5 % of them at most, no shift in 40 %.

    Catches: the standard error of one sample where there are two, a one-sided p, "nothing found" as support.
    """
    images, n = torch.full((4, 16), 0.5).double(), 5000  # a mean of length 2
    shifted = [shift_z(images, 0.025, 1.0, n, seed) for seed in range(300)]
    still = [shift_z(images, 0.0, 1.0, n, seed) for seed in range(300)]
    rejected, wrongly = (np.mean([p_of_no_shift(z) < 0.01 for z in of]) for of in (shifted, still))
    assert 0.3 < power_at(2.5, 0.01) < 0.6
    assert abs(rejected - power_at(2.5, 0.01)) < 0.1
    assert wrongly < 0.03
    assert power_at(0.0, 0.01) == pytest.approx(0.01, abs=1e-6)
    missed, supported = (np.mean([p_of_shift(z, 2.5) <= 0.05 for z in of]) for of in (shifted, still))
    assert missed < 0.05
    assert 0.3 < supported < 0.5


def prior(*schedules: Part, images: int = 20000, **fields: Any) -> Prior:
    """A claim about x_T of digits, at most 1e-4 bits per dimension from noise."""
    common = {"kind": "prior", "dataset": Part(name="digits"), "bits": 1e-4, **COMMON}
    return Prior.model_validate({**common, "schedules": list(schedules), "images": images, **fields})


def test_prior_claim_tells_schedules_apart(evidence: Evidence) -> None:
    """Cosine is near enough, linear cut off at half is neither. Catches: a test that cannot fail."""
    near = judge(prior(Part(name="cosine")), evidence)
    assert [v.word for v in near] == ["supported", "supported"]
    assert near[1].formula == "p of the two-sample test, n = 20,000, power 1.00 at 0.0001 bits/dimension"
    assert [v.word for v in judge(prior(Part(name="linear"), end=0.5), evidence)] == ["refuted", "refuted"]
    later = prior(Part(name="cosine"), minimum_profile="paper")
    assert [v.word for v in judge(later, evidence)] == ["not tested", "not tested"]


def test_noise_itself_is_supported_by_draws_enough(evidence: Evidence) -> None:
    """x_T of a zero terminal SNR is N(0, I). 1e-4 bits in 64 dimensions are a shift of 0.094: 6.7 standard errors of 10,000 draws,
    0.67 of 100. Catches: power at the shift that there is, which no N(0, I) ever has; support by a test without power.
    """
    words = {}
    for images in (100, 10_000):
        bits, test = judge(prior(Part(name="zero_terminal_snr"), images=images), evidence)
        assert (bits.value, bits.word) == (0.0, "supported")
        words[images] = (test.word, test.reason)
    shift = math.sqrt(2 * 1e-4 * math.log(2) * 64) * math.sqrt(100 / 2)
    assert words[100] == ("inconclusive", f"the test would find a difference with a probability of {power_at(shift, 0.05):.2f}, under 0.8")  # fmt: skip
    assert words[10_000] == ("supported", "")


def test_the_tests_of_several_schedules_are_corrected_together(evidence: Evidence) -> None:
    """The smaller p of two is doubled; a divergence has none. Catches: every schedule at the level of one."""
    parts = Part(name="linear", T=1000), Part(name="zero_terminal_snr")
    own = [judge(prior(part), evidence)[1].p or 0.0 for part in parts]
    first, one, second, other = (v.p for v in judge(prior(*parts), evidence))
    assert (first, second) == (None, None)
    assert min(one or 0.0, other or 0.0) == pytest.approx(2 * min(own))
    assert min(own) > 0


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
