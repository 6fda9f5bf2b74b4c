"""Training: Ho et al. 2020, algorithm 1. Killed at any instant and run again, it ends in the same weights.

loop.py has the loop; here is what is trained, and what a checkpoint of it holds.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from replication.checkpoint import load_checkpoint, save_checkpoint
from replication.noise import stream_seed
from replication.numerics import numerics
from replication.training.data import Pixels, TrainingData
from replication.training.ema import EMA
from replication.training.loop import (
    CHECKPOINT_SECONDS,
    GIVEN,
    Run,
    batch_indices,
    descend,
    optimizer_tensors,
    require_finished,
    restore_optimizer,
    run_to_the_end,
)
from replication.training.recipe import Recipe
from replication.types import InputError

FIRST_STAGE = "first_stage"  # a checkpoint's note of the first stage's SHA-256; none for pixels


def train(
    recipe: Recipe,
    path: Path,
    device: torch.device,
    progress: bool = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    data: Callable[[], TrainingData] | None = None,
) -> None:
    """Train to the recipe's last step, from the checkpoint at `path` if there is one; the result is at `path`.

    `data` loads what is trained on, by default the dataset's pixels; it is called only if there is something to do.
    Raises InputError for a checkpoint that is corrupt or of another recipe, RunError when the loss stops being finite:
    the last good checkpoint stays. On the CPU the weights are bit-identical however often training was interrupted.
    """
    load = data or (lambda: Pixels.of(recipe.build_dataset().load("train"), device))
    run_to_the_end(_Run(recipe, device), path, load, progress, checkpoint_seconds)


class _Run(Run):
    """The state of one training: what a checkpoint holds, and on which first stage's latents (SHA-256) it began."""

    first_stage: str | None = None

    def __init__(self, recipe: Recipe, device: torch.device):
        self.recipe, self.device, self.settings = recipe, device, recipe.training
        torch.manual_seed(stream_seed("weights", self.settings.seed))
        self.network = recipe.build_network().to(device).to(memory_format=torch.channels_last).train()
        self.dataset, self.condition = recipe.build_dataset(), recipe.build_condition()
        self.null = recipe.null(recipe.training.batch_size, device)
        self.denoiser, self.objective = recipe.build_denoiser(self.network), recipe.build_objective()
        self.ema = EMA(self.network, self.settings.ema_decay, self.settings.ema_warmup)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=0.0, eps=1e-8, weight_decay=self.settings.weight_decay
        )

    def advance(self, data: TrainingData) -> Tensor:
        """See Run; raises InputError for latents of another first stage than those the training began with."""
        settings, step = self.settings, self.step
        if step and self.first_stage != data.first_stage:
            raise InputError(
                f"the checkpoint was trained on latents of the first stage {self.first_stage}, and these are of "
                f"{data.first_stage}; move it away and run again"
            )
        self.first_stage = data.first_stage
        chosen = batch_indices(len(data), step, settings.batch_size, settings.seed).to(self.device)
        torch.manual_seed(stream_seed("training", settings.seed, step))
        x0 = data.batch(chosen, settings.flip)
        t = self.objective.draw_times(len(x0), self.denoiser.schedule, x0.device)
        noise, cond = torch.randn_like(x0), self._condition(data.labels[chosen], chosen)
        with numerics(settings.precision, self.device):
            loss = self.objective(self.denoiser, x0, cond, t, noise).mean()
        norm = descend(loss, self.network, self.optimizer, step, settings)
        self.step = step + 1
        self.ema.update(self.network, self.step)
        # a finite loss may have a gradient that is not, and then the weights are no longer worth a checkpoint
        return torch.where(norm.isfinite(), loss.detach(), math.nan)

    def _condition(self, labels: Tensor, chosen: Tensor) -> Tensor | None:
        """What the network is told about these images: of some of them nothing, so that it learns that answer too."""
        if self.condition is None or self.null is None:
            return None
        cond = self.condition.of(labels, chosen, self.dataset)
        dropped = torch.rand(len(labels), device=labels.device) < self.condition.dropout
        return torch.where(dropped.reshape(-1, *[1] * (cond.ndim - 1)), self.null, cond)

    def save(self, path: Path) -> None:
        """Weights, averaged weights and, until training is over, Adam's moments."""
        tensors: dict[str, Tensor] = {f"weights.{k}": p for k, p in self.network.named_parameters()}
        tensors |= {f"ema.{k}": p for k, p in self.ema.weights.items()}
        if self.step < self.settings.steps:
            tensors |= optimizer_tensors(self.optimizer, "adam")
        made = {"step": self.step, "loss": self.loss, "seconds": self.seconds}
        save_checkpoint(path, tensors, {**described(self.recipe), **made, FIRST_STAGE: self.first_stage})

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same recipe; raises InputError for another's."""
        tensors, metadata = load_checkpoint(path)
        check_recipe(metadata, self.recipe, path)
        self.step, self.seconds, self.loss = metadata["step"], metadata["seconds"], metadata["loss"]
        self.first_stage = metadata.get(FIRST_STAGE)
        with torch.no_grad():
            for k, p in self.network.named_parameters():
                p.copy_(tensors[f"weights.{k}"])
            for k, averaged in self.ema.weights.items():
                averaged.copy_(tensors[f"ema.{k}"])
        restore_optimizer(self.optimizer, tensors, "adam")


def described(recipe: Recipe) -> dict[str, Any]:
    """What a checkpoint says of its recipe."""
    return {"recipe_key": recipe.key, "recipe": recipe.model_dump(), "identity": recipe.identity()}


def save_given_network(recipe: Recipe, network: nn.Module, path: Path, sha256: str, first_stage: str | None) -> None:
    """The checkpoint of a finished training whose weights were published; their average is what was given.

    sha256: of the published file; first_stage: of the checkpoint whose latents it is for.
    """
    tensors = {f"{kind}.{k}": p.clone() for kind in ("weights", "ema") for k, p in network.named_parameters()}
    made = {"step": recipe.training.steps, "loss": None, "seconds": 0.0, GIVEN: sha256, FIRST_STAGE: first_stage}
    save_checkpoint(path, tensors, {**described(recipe), **made})


def check_recipe(metadata: dict[str, Any], recipe: Recipe, path: Path) -> None:
    """Raises InputError if the checkpoint was trained by another recipe."""
    if metadata.get("recipe_key") != recipe.key:
        raise InputError(f"{path}: this checkpoint was trained by another recipe; move it away and run again")


def load_network(recipe: Recipe, path: Path, device: torch.device, ema: bool = True) -> nn.Module:
    """The trained network in evaluation mode, averaged or raw weights.

    Raises InputError if the file is missing, corrupt, of another recipe, or its training is not finished.
    """
    tensors, metadata = load_checkpoint(path)
    check_recipe(metadata, recipe, path)
    require_finished(metadata["step"], recipe.training, path)
    network, prefix = recipe.build_network(), "ema." if ema else "weights."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return network.to(device).to(memory_format=torch.channels_last).eval()
