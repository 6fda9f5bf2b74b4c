"""What training costs: arithmetic by hand, and the counts that experiments/ldm.toml states, counted again."""

import pytest
import torch

from replication.cost import Cost, measured
from replication.harness.experiment import load_experiment
from replication.registry import MODELS, QUANTITIES
from replication.report.claims import Evidence, claims_of, judge
from replication.report.claims.claim import Exact
from replication.types import InputError


def test_memory_and_time_by_hand() -> None:
    """Ten parameters and three images of 7 bytes: 16 x 10 + 21 bytes. 3 x 100 x 4 / 600 = 2 s a step, 43200 steps: a day.

    Catches: Adam's moments or the gradient left out, one forward pass a step, a batch that counts once.
    """
    gigabytes = QUANTITIES.build("training_gigabytes", of="it", parameters=10, activation_bytes=7, batch_size=3)
    assert gigabytes.value() == pytest.approx(181e-9)
    days = QUANTITIES.build("training_days", of="it", multiply_adds=100, batch_size=4, steps=43200, per_second=600.0)
    assert days.value() == pytest.approx(1.0)
    assert days.formula == "2 s a step of 4 images x 43,200 steps"
    with pytest.raises(InputError, match="per_second is positive, not 0"):
        QUANTITIES.build("training_days", of="it", multiply_adds=100, batch_size=4, steps=1, per_second=0.0)


@pytest.fixture(scope="module")
def counted() -> dict[str, Cost]:
    """What replication/cost.py counts, by the words of the claims."""
    with torch.device("meta"):
        ldm, ddpm = (MODELS.build(name).eval() for name in ("ldm-celebahq-4", "ddpm-256"))
        sides = {"LDM-4 on latents of 64x64x3": (ldm, 64), "LDM-4's network on 256x256x3": (ldm, 256),
                 "LDM-4's network on 512x512x3": (ldm, 512), "DDPM's network on 256x256x3": (ddpm, 256)}  # fmt: skip
        return {
            words: measured(network, torch.empty(1, 3, side, side), torch.empty(1))
            for words, (network, side) in sides.items()
        }


def test_the_stated_counts_are_those_of_the_networks(counted: dict[str, Cost]) -> None:
    """Exact. Catches: a number that was mistyped, or left behind by a network."""
    exact = [e for claim in claims_of(load_experiment("ldm")) for e in claim.named() if isinstance(e, Exact)]
    found = [e for e in exact if e.name in ("training_gigabytes", "training_days")]
    assert len(found) == 10
    for part in found:
        options = part.options
        cost = counted[options["of"].partition(" at ")[0]]
        stated = {
            name: options[name] for name in ("parameters", "activation_bytes", "multiply_adds") if name in options
        }
        assert stated == {name: getattr(cost, name) for name in stated}


def test_latents_are_tractable_and_pixels_are_not_all_intractable() -> None:
    """Catches: a bar that everything is under, or nothing; the smaller network on pixels takes 24 or 12 days, by what the card reaches."""
    ldm = load_experiment("ldm")
    of = {claim.name: claim for claim in claims_of(ldm)}
    words = {
        name: [v.word for v in judge(of[name], Evidence(ldm, "cpu", [], {}))]
        for name in of
        if name.endswith(("consumer-gpu", "two-weeks"))
    }
    assert words == {
        "latents-fit-a-consumer-gpu": ["supported"],
        "pixels-do-not-fit-a-consumer-gpu": ["supported"] * 3,
        "latents-train-in-two-weeks": ["supported"] * 2,
        "pixels-do-not-train-in-two-weeks": ["supported"] * 3 + ["refuted"],
    }
