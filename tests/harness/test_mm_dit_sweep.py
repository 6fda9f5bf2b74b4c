"""MM-DiT through the harness: trained on captions, sampled with guidance, prompted."""

from pathlib import Path
from typing import Any

import pytest
import torch
from harness.tiny_latent import write_tiny_latent
from torch import Tensor

from oracles.costs import mm_dit_cost
from replication.dit.mm_dit import MMDiT
from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of, find_cell
from replication.harness.workplace import Workplace

CHANGES = (
    (
        'label = "text"\nsampler = "ddim"\nspacing = "uniform"',
        'label = "text"\nsampler = "euler"\nspacing = "trailing"',
    ),
    (
        'condition = "text"\nnetwork = { name = "ldm-unet", resolution = 4, channels = 2, width = 8, multipliers = [1, 1], '
        "blocks = 1, attention = [2], heads = 1, groups = 2, context = 8, vocabulary = 35, length = 12, text_layers = 1, "
        "text_heads = 1 }",
        'condition = "text"\nschedule = "flow"\nparameterization = "velocity"\nobjective = "rectified-flow"\n'
        'network = { name = "mm-dit", depth = 2, width = 16, heads = 2, patch = 2, channels = 2, resolution = 4, '
        "vocabulary = 35, length = 12 }",
    ),
    # enough for gates that are closed at first to let a text be heard
    ("steps = 2\nbatch_size = 8\nlearning_rate = 1e-3", "steps = 12\nbatch_size = 8\nlearning_rate = 3e-2"),
)


def test_it_is_trained_sampled_and_prompted(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact. Catches a text that is embedded at every step, guidance that is not evaluated, prompts that change nothing,
    and costs of another network than the recipe's.
    """
    conditions: list[tuple[bool, bool]] = []
    forward = MMDiT.forward

    def spy(network: MMDiT, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Any:
        assert cond is not None
        if not x.is_meta:
            conditions.append((network.training, cond.is_floating_point()))
        return forward(network, x, timestep, cond)

    monkeypatch.setattr(MMDiT, "forward", spy)
    cell = find_cell(cells_of(load_experiment(str(write_tiny_latent(project, *CHANGES))), "cpu"), "text", None)
    where = Workplace(project / "runs", torch.device("cpu"), batch_size=10, progress=False)
    record = cell.compute(where).record
    assert {of for training, of in conditions if training} == {False}
    assert {of for training, of in conditions if not training} == {True}
    assert record["sampling.nfe"] == 4
    assert record["metric.fd"] > 0
    assert 0 <= record["metric.class_accuracy"] <= 1
    cost = mm_dit_cost(cell.recipe.build_network())  # type: ignore[arg-type]
    assert record["cost.image_multiply_adds"] == 4 * cost.multiply_adds
    pictures = cell.prompted(["the digit three", "the digit seven", "the digit three"], 2, 0, where)
    assert torch.equal(pictures[0], pictures[2])
    assert not torch.equal(pictures[0], pictures[1])
