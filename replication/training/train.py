"""Training a network: Ho et al. 2020, algorithm 1. Killed at any instant and run again, it ends in the same weights.

loop.py has the loop; here is what is trained.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor, nn

from replication.acceleration import Policy, accelerated, replayed
from replication.metrics.timing import repeated
from replication.noise import stream_seed
from replication.numerics import numerics
from replication.training.data import TrainingData, images_of
from replication.training.loop import Sitting, Step, TrainingState, add_gradient, descend, train_to_the_end
from replication.training.processes import ALONE, Processes
from replication.training.recipe import Recipe
from replication.training.snapshots import Snapshots


def train(
    recipe: Recipe,
    folder: Path,
    device: torch.device,
    *,
    data: Callable[[], TrainingData] | None = None,
    **sitting: Unpack[Sitting],
) -> Path:
    """The snapshot in `folder` after the recipe's steps: found, or trained from the last one before it.

    `data` loads what is trained on, by default the dataset's images. Raises as train_to_the_end does. On the CPU the weights
    are bit-identical however often training was interrupted, and at whichever snapshots it stopped and went on.
    """
    snapshots, processes = Snapshots(folder, recipe.training_identity()), sitting.get("processes", ALONE)
    load = data or (lambda: images_of(recipe.build_dataset(), recipe.training, device))
    start = partial(NetworkState, recipe, device, processes)
    return train_to_the_end(snapshots, recipe.training.steps, start, load, **sitting)


PAYS = 240.0  # seconds of gradients from which on it pays to compile: that takes about one minute and saves a third


class NetworkState(TrainingState):
    """Of a recipe's network."""

    kind, stream = "recipe", "training"

    def __init__(self, recipe: Recipe, device: torch.device, processes: Processes = ALONE):
        torch.manual_seed(stream_seed("weights", recipe.training.seed))
        super().__init__(recipe, recipe.build_network(), device, processes)
        self.dataset, self.condition = recipe.build_dataset(), recipe.build_condition()
        self.null = recipe.null(recipe.training.batch_size, device)
        self.recipe, self.objective = recipe, recipe.build_objective()
        self.denoiser = recipe.build_denoiser(self.network)

    def prepare(self, data: TrainingData) -> None:
        """Compile the network, where that is done at all and the steps that are left take long enough."""
        if not Policy.compiles_on(self.device):
            return
        drawn = self.drawn(*self.batch(data))

        def gradient() -> None:
            for loss in self._losses(*drawn):
                add_gradient(loss, self.settings)
            self.network.zero_grad(set_to_none=True)

        recorded = replayed(gradient, self.device)
        seconds = min(repeated(recorded, self.device, repeats=3))
        if self.processes.as_first(seconds * (self.settings.steps - self.step) > PAYS)[0]:
            self.denoiser = self.recipe.build_denoiser(accelerated(self.network, self.device))
            gradient()

    def drawn(self, x0: Tensor, labels: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """x_0, its condition, times and noise."""
        t = self.objective.draw_times(len(x0), self.denoiser.schedule, x0.device)
        noise = torch.randn_like(x0)
        return x0, self._condition(labels, chosen), t, noise

    def learn(self, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Step:
        losses = self._losses(x0, cond, t, noise)
        return descend(losses, self.network, self.optimizers["network"], self.settings, self.processes)

    def _losses(self, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Iterator[Tensor]:
        for part in self.parts:
            yield self._loss(x0[part], None if cond is None else cond[part], t[part], noise[part])

    def _loss(self, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Tensor:
        with numerics(self.settings.precision, self.device):
            return self.objective(self.denoiser, x0, cond, t, noise).mean() * self.share

    def _condition(self, labels: Tensor, chosen: Tensor) -> Tensor | None:
        """`cond` of these images: of some of them the null condition, so that guidance has its answer to that too."""
        if self.condition is None or self.null is None:
            return None
        cond = self.condition.of(labels, chosen, self.dataset)
        dropped = torch.rand(len(labels), device=labels.device) < self.condition.dropout
        return torch.where(dropped.reshape(-1, *[1] * (cond.ndim - 1)), self.null, cond)


def load_network(recipe: Recipe, path: Path, device: torch.device, ema: bool = True) -> nn.Module:
    """The trained network in a recipe's snapshot, in evaluation mode, averaged or raw weights; raises as Snapshots.load."""
    snapshots = Snapshots(path.parent, recipe.training_identity())
    return snapshots.load(recipe.build_network, path, recipe.training.steps, device, ema)
