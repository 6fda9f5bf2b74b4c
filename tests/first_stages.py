"""Small first stages for the tests of their training, and a process that trains one until it is killed."""

import sys
from pathlib import Path
from typing import Any

import torch

from replication.registry import DATASETS
from replication.training.first_stage import FirstStage
from replication.training.train_first_stage import train_first_stage

CPU = torch.device("cpu")
DIGITS = DATASETS.build("digits")
PATCHGAN = {"name": "patchgan", "image_channels": 1, "width": 4, "layers": 1}


def stage(
    kind: str = "kl-f2", steps: int = 6, loss: Any = None, training: Any = None, **autoencoder: Any
) -> FirstStage:
    """Digits, narrow, with a warm-up and a discriminator from step 2, so that all that a resumed run repeats is on."""
    narrow = {"image_channels": 1, "width": 4, "multipliers": [1, 1], "blocks": 1, "groups": 2, "latent_channels": 2}
    kinds = {"k": ({"scaling": "std"}, 1e-6), "v": ({"codebook": 8}, 1.0)}
    options, weight = kinds[kind[0]]
    return FirstStage.model_validate(
        {
            "name": kind,
            "autoencoder": {"name": kind, **narrow, **options, **autoencoder},
            "loss": {
                "perceptual": "features-digits-cnn",
                "regularizer_weight": weight,
                "discriminator": PATCHGAN,
                "discriminator_start": 2,
                **(loss or {}),
            },
            "training": {
                "steps": steps, "batch_size": 8, "learning_rate": 1e-3, "warmup": 3, "ema_decay": 0.9, "flip": False,
                "seed": 1, **(training or {}),
            },
        }
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    train_first_stage(
        stage(steps=int(sys.argv[2])), DIGITS, Path(sys.argv[1]), CPU, progress=False, checkpoint_seconds=0
    )
