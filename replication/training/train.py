"""Training a network: Ho et al. 2020, algorithm 1. Killed at any instant and run again, it ends in the same weights.

loop.py has the loop; here is what is trained, and what a snapshot of it holds besides the network.
"""

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from replication.noise import stream_seed
from replication.numerics import numerics
from replication.training.data import Pixels, TrainingData
from replication.training.loop import CHECKPOINT_SECONDS, Step, TrainingState, batch_indices, descend, train_to_the_end
from replication.training.recipe import Recipe
from replication.training.snapshots import Snapshots
from replication.types import InputError

ENCODER = "encoder"  # in a header: the SHA-256 of the encoder whose latents were trained on; None for pixels


def train(
    recipe: Recipe,
    folder: Path,
    device: torch.device,
    milestones: Collection[int] = (),
    progress: bool = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    data: Callable[[], TrainingData] | None = None,
) -> Path:
    """The snapshot in `folder` after the recipe's steps: found, or trained from the last one before it.

    `milestones`: steps at which one is kept on the way. `data` loads what is trained on, by default the dataset's pixels; it
    is called only if there is something to do. Raises InputError for a snapshot that is corrupt or of another training,
    RunError when the loss stops being finite: the last good snapshot stays. On the CPU the weights are bit-identical
    however often training was interrupted, and at whichever snapshots it stopped and went on.
    """
    snapshots = Snapshots(folder, recipe.training_identity())
    load = data or (lambda: Pixels.of(recipe.build_dataset().load("train"), device))
    start, steps = (lambda: NetworkState(recipe, device)), recipe.training.steps
    return train_to_the_end(snapshots, steps, start, load, milestones, progress, checkpoint_seconds)


class NetworkState(TrainingState):
    """Of a recipe's network; `encoder`: the SHA-256 of the one whose latents it was begun on."""

    encoder: str | None = None

    def __init__(self, recipe: Recipe, device: torch.device):
        torch.manual_seed(stream_seed("weights", recipe.training.seed))
        super().__init__(recipe.build_network(), recipe.training, device)
        self.recipe, self.dataset, self.condition = recipe, recipe.build_dataset(), recipe.build_condition()
        self.null = recipe.null(recipe.training.batch_size, device)
        self.denoiser, self.objective = recipe.build_denoiser(self.network), recipe.build_objective()
        self.optimizers["network"] = torch.optim.AdamW(
            self.network.parameters(), lr=0.0, eps=1e-8, weight_decay=self.settings.weight_decay
        )

    def advance(self, data: TrainingData) -> Step:
        """See TrainingState; raises InputError for latents of another encoder than those the training began with."""
        settings, step = self.settings, self.step
        if step and self.encoder != data.encoder:
            raise InputError(
                f"the snapshot was trained on latents of the encoder {self.encoder}, and these are of {data.encoder}; "
                "move it away and run again"
            )
        self.encoder = data.encoder
        chosen = batch_indices(len(data), step, settings.batch_size, settings.seed).to(self.device)
        torch.manual_seed(stream_seed("training", settings.seed, step))
        x0 = data.batch(chosen, settings.flip)
        t = self.objective.draw_times(len(x0), self.denoiser.schedule, x0.device)
        noise, cond = torch.randn_like(x0), self._condition(data.labels[chosen], chosen)
        with numerics(settings.precision, self.device):
            loss = self.objective(self.denoiser, x0, cond, t, noise).mean()
        norm = descend(loss, self.network, self.optimizers["network"], step, settings)
        self.step = step + 1
        self.ema.update(self.network, self.step)
        # a finite loss may have a gradient that is not, and then the weights are no longer worth a snapshot
        return Step(torch.where(norm.isfinite(), loss.detach(), math.nan), norm)

    def _condition(self, labels: Tensor, chosen: Tensor) -> Tensor | None:
        """`cond` of these images: of some of them the null condition, so that guidance has its answer to that too."""
        if self.condition is None or self.null is None:
            return None
        cond = self.condition.of(labels, chosen, self.dataset)
        dropped = torch.rand(len(labels), device=labels.device) < self.condition.dropout
        return torch.where(dropped.reshape(-1, *[1] * (cond.ndim - 1)), self.null, cond)

    def notes(self) -> dict[str, Any]:
        return network_notes(self.recipe, self.step, self.encoder)

    def restore(self, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        super().restore(tensors, header)
        self.encoder = header[ENCODER]


def network_notes(recipe: Recipe, steps: int, encoder: str | None) -> dict[str, Any]:
    """What the header of a snapshot after so many steps describes it by: among others the whole recipe that ends there."""
    reached = recipe.with_fields(training=recipe.training.with_fields(steps=steps))
    return {"recipe": reached.model_dump(), ENCODER: encoder}


def load_network(recipe: Recipe, path: Path, device: torch.device, ema: bool = True) -> nn.Module:
    """The trained network in a recipe's snapshot, in evaluation mode, averaged or raw weights; raises as Snapshots.load."""
    snapshots = Snapshots(path.parent, recipe.training_identity())
    return snapshots.load(recipe.build_network(), path, recipe.training.steps, device, ema)
