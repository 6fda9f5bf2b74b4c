"""Small recipes for the tests of training and generation, and a process that trains one until it is killed."""

import sys
from pathlib import Path
from typing import Any

import torch

from replication.training.recipe import Recipe
from replication.training.train import train

CPU = torch.device("cpu")


def recipe(steps: int = 6, network: Any = "ddpm-digits", condition: Any = None, **training: Any) -> Recipe:
    """Digits, with dropout and a warm-up, so that everything that a resumed run must repeat is switched on."""
    settings = {"batch_size": 8, "learning_rate": 1e-3, "warmup": 3, "ema_decay": 0.9, "flip": False, "seed": 1}
    return Recipe.model_validate(
        {
            "dataset": "digits",
            "network": {"name": "ddpm-digits", "dropout": 0.1} if network == "ddpm-digits" else network,
            "schedule": "linear",
            "parameterization": "eps",
            "objective": "simple",
            "condition": condition,
            "training": {**settings, "steps": steps, **training},
        }
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(recipe(steps=int(sys.argv[2])), Path(sys.argv[1]), CPU, progress=False, checkpoint_seconds=0)
