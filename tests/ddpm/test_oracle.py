"""The oracle network is the closed form that the tests use, and a checkpoint of it stays exact."""

from pathlib import Path

import torch

from replication.check.exact import GaussianDenoiser
from replication.diffusion import Denoiser
from replication.harness.experiment import load_experiment
from replication.harness.jobs.cell import cells_of
from replication.registry import MODELS, SCHEDULES
from replication.training.train import load_network, train


def test_oracle_network_is_the_exact_denoiser() -> None:
    """max-abs 1e-6 against the tests' own. Catches: alpha for alpha^2, a timestep off by one."""
    schedule = SCHEDULES.build("linear", T=1000)
    exact = GaussianDenoiser(schedule, 0.2, 0.15)
    ours = Denoiser(MODELS.build("gaussian-oracle").double(), schedule)
    x, t = torch.randn(3, 1, 8, 8, dtype=torch.float64), torch.tensor([1.0, 300.0, 1000.0]).double() / 1000
    assert (ours(x, t).eps - exact(x, t).eps).abs().max() <= 1e-6  # 0.2 and 0.15 are rounded to float32 on the way


def test_training_leaves_the_oracle_exact(tmp_path: Path) -> None:
    """Catches: a warm-up whose first step moves."""
    recipe = cells_of(load_experiment("oracle"), "cpu")[0].recipe
    path = train(recipe, tmp_path, torch.device("cpu"), progress=False)
    network = load_network(recipe, path, torch.device("cpu"))
    assert {k: p.item() for k, p in network.named_parameters()} == {
        "mean": torch.tensor(0.2).item(),
        "std": torch.tensor(0.15).item(),
    }
