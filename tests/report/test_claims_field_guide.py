"""The field guide's statements that can be settled without rows, and that they could come out otherwise."""

import math

import pytest
import torch

from replication.harness.experiment import load_experiment
from replication.quantities import eps_mse, marginal_deviation
from replication.registry import QUANTITIES
from replication.report.claims import Evidence, judge

SUBJECTS = {
    "noise-prediction-is-mse": {"supported"},
    "latents-are-50-times-smaller": {"refuted"},
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_verdicts_that_need_no_rows(name: str) -> None:
    guide = load_experiment("field-guide")
    (claim,) = (claim for claim in guide.claims if claim.name == name)
    assert {v.word for v in judge(claim, Evidence(guide, "cpu", [], {}))} == SUBJECTS[name]


def test_statements_that_await_experiments_name_them() -> None:
    """Catches: a statement of the guide that was dropped."""
    awaited = [claim.awaits for claim in load_experiment("field-guide").claims]
    assert {name: awaited.count(name) for name in ("dit", "scaling")} == {"dit": 3, "scaling": 1}


def test_marginal_deviation_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below 1e-12; a transition whose variance is off by 1e-6 shows. Catches: the closed form against itself."""
    quantity = QUANTITIES.build("marginal_deviation", schedule={"name": "linear", "T": 1000})
    assert quantity.value() < 1e-12
    true = marginal_deviation.transition

    def wrong(*arguments):
        scale, variance = true(*arguments)
        return scale, variance * (1 + 1e-6)

    monkeypatch.setattr(marginal_deviation, "transition", wrong)
    assert quantity.value() > 1e-8


def test_the_weight_of_the_bound_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below 1e-9; with the variance of the forward step in the bound, or its weight in bits, far above.

    Catches: a bound that is compared with itself.
    """
    quantity = QUANTITIES.build("bound_deviation")
    assert quantity.value() < 1e-9
    true = eps_mse.bound_term
    monkeypatch.setattr(eps_mse, "bound_term", lambda d, _, *rest: true(d, "fixed-large", *rest))
    assert quantity.value() > 1e-3
    monkeypatch.setattr(eps_mse, "bound_term", lambda *arguments: true(*arguments) / math.log(2))
    assert quantity.value() > 0.1


def test_the_simple_loss_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: a loss in the space of x0, which is another weight of each time."""
    quantity = QUANTITIES.build("simple_loss_deviation")
    assert quantity.value() < 1e-12
    monkeypatch.setattr(type(quantity.denoiser.parameterization), "output", lambda self, p, x_t, t, schedule: p.x0)
    assert quantity.value() > 0.1


def test_values_counts_the_array() -> None:
    assert QUANTITIES.build("values", shape=[512, 512, 3]).value() == torch.empty(512, 512, 3).numel() == 786432
