"""The field guide's statements that can be settled without rows, and that they could come out otherwise."""

import math

import pytest
import torch

from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.quantities import identities
from replication.registry import QUANTITIES
from replication.report.claims import Evidence, claims_of, judge

SUBJECTS = {
    "noise-prediction-is-mse": {"supported"},
    "latents-are-50-times-smaller": {"supported"},
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_verdicts_that_need_no_rows(name: str) -> None:
    guide = load_experiment("field-guide")
    (claim,) = (claim for claim in claims_of(guide) if claim.name == name)
    assert {v.word for v in judge(claim, Evidence(guide, "cpu", [], {}))} == SUBJECTS[name]


def test_statements_about_transformers_are_judged_beside_their_tables() -> None:
    """None waits any longer. Catches: a statement of the guide that was dropped on the way."""
    guide, dit, scaling = (
        {claim.name: claim.minimum_profile for claim in claims_of(load_experiment(name))}
        for name in ("field-guide", "dit", "scaling")
    )
    assert not [claim.name for claim in claims_of(load_experiment("field-guide")) if claim.awaits]
    assert (dit["gflops-decide-quality"], dit["adaln-zero-beats-the-other-blocks"]) == ("gpu", "evening")
    assert {dit[f"smaller-patches-help-{size}"] for size in "sbl"} == {"cpu"}
    assert dit["smaller-patches-help-xl"] == "evening"
    assert scaling["transformers-scale-more-predictably"] == "gpu"
    assert not {*dit, *scaling} & {*guide}


def test_the_papers_correlation_is_that_of_its_table() -> None:
    """-0.930 by the logarithm of the multiply-adds, -0.73 by themselves: what figure 8 prints is -0.93, over twelve models.

    Catches: a mistyped value or cost of Table 4, and a correlation by another scale.
    """
    dit = load_experiment("dit")
    of = {claim.name: claim for claim in claims_of(dit)}
    evidence = Evidence(dit, "paper", cells_of(dit, "paper"), {})
    *_, as_printed = verdicts = judge(of["gflops-decide-quality-of-twelve"], evidence)
    assert [v.published for v in verdicts if "KID" not in v.definition] == [
        pytest.approx(-0.930, abs=5e-4),
        pytest.approx(-0.916, abs=5e-4),
        pytest.approx(-0.930, abs=5e-4),
    ]
    assert (str(as_printed.needed), as_printed.definition.split()[0]) == ("-0.977 to -0.884", "semi-log")
    falls, *others = judge(of["gflops-decide-every-metric-of-twelve"], evidence)
    assert [str(v.needed) for v in others] == ["-0.903 to -0.817", "0.855 to 0.945", "0.884 to 0.977", "0.817 to 0.903"]
    assert [v.definition.split()[3] for v in (falls, *others)] == ["sFID", "sFID", "IS", "ADM", "ADM"]
    rather = {
        suffix: [v.published for v in judge(of[f"gflops-rather-than-parameters{suffix}"], evidence)[2:5]]
        for suffix in ("-of-twelve", "", "-when-small")
    }
    # over the twelve, the eight with patches of 4 and 2, and the six of S, B and L among those
    assert rather == {
        "-of-twelve": pytest.approx([0.226, 0.552, -0.327], abs=5e-4),
        "": pytest.approx([0.0936, 0.300, -0.207], abs=5e-4),
        "-when-small": pytest.approx([0.0710, 0.261, -0.190], abs=5e-4),
    }
    blocks = judge(of["adaln-zero-beats-the-other-blocks-of-xl"], evidence)
    assert [v.published for v in blocks if "KID" not in v.definition] == [
        pytest.approx(fd / 19.47) for fd in (35.24, 26.14, 25.21)
    ]


def test_marginal_deviation_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below 1e-12; a transition whose variance is off by 1e-6 shows. Catches: the closed form against itself."""
    quantity = QUANTITIES.build("marginal_deviation", schedule={"name": "linear", "T": 1000})
    assert quantity.value() < 1e-12
    true = identities.transition

    def wrong(*arguments):
        scale, variance = true(*arguments)
        return scale, variance * (1 + 1e-6)

    monkeypatch.setattr(identities, "transition", wrong)
    assert quantity.value() > 1e-8


def test_the_weight_of_the_bound_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below 1e-9; with the variance of the forward step in the bound, or its weight in bits, far above.

    Catches: a bound that is compared with itself.
    """
    quantity = QUANTITIES.build("bound_deviation")
    assert quantity.value() < 1e-9
    true = identities.bound_term
    monkeypatch.setattr(identities, "bound_term", lambda d, _, *rest: true(d, "fixed-large", *rest))
    assert quantity.value() > 1e-3
    monkeypatch.setattr(identities, "bound_term", lambda *arguments: true(*arguments) / math.log(2))
    assert quantity.value() > 0.1


def test_the_simple_loss_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: a loss in the space of x0, which is another weight of each time."""
    quantity = QUANTITIES.build("simple_loss_deviation")
    assert quantity.value() < 1e-12
    monkeypatch.setattr(type(quantity.denoiser.parameterization), "output", lambda self, p, x_t, t, schedule: p.x0)
    assert quantity.value() > 0.1


def test_values_counts_the_array() -> None:
    assert QUANTITIES.build("values", shape=[512, 512, 3]).value() == torch.empty(512, 512, 3).numel() == 786432
