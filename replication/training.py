"""Training: Ho et al. 2020, algorithm 1. Killed at any instant and run again, it ends in the same weights.

Nothing random is carried along: every step seeds its own draws (times, noise, flips, dropout) from (seed, step), and
every epoch its own order. A checkpoint therefore needs the weights, their average, Adam's moments and the step number.
"""

import math
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from replication.checkpoint import load_checkpoint, save_checkpoint
from replication.ema import EMA
from replication.noise import stream_seed
from replication.numerics import float32_as, numerics
from replication.progress import bar
from replication.recipe import Recipe, Training
from replication.types import InputError, RunError

CHECKPOINT_SECONDS = 30.0
NAN_CHECK_STEPS = 50  # reading the loss waits for the device, so not on every step


def train(
    recipe: Recipe,
    path: Path,
    device: torch.device,
    progress: bool = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> None:
    """Train to the recipe's last step, from the checkpoint at `path` if there is one; the result is at `path`.

    Raises InputError for a checkpoint that is corrupt or of another recipe, RunError when the loss stops being finite:
    the last good checkpoint stays. On the CPU the weights are bit-identical however often training was interrupted.
    """
    run = _Run(recipe, device)
    if path.exists():
        run.restore(path)
    if run.step == recipe.training.steps:
        return
    split, started = recipe.build_dataset().load("train"), time.perf_counter()
    images, labels = split.images.to(device), split.labels.to(device)
    saved, done_before, total = started, run.seconds, recipe.training.steps
    with bar(total, "training", "step", run.step, progress) as shown:
        while run.step < total:
            loss = run.advance(images, labels)
            now = time.perf_counter()
            run.seconds = done_before + now - started
            if run.step % NAN_CHECK_STEPS == 0 or run.step == total:
                run.watch(loss, path)
                rate = recipe.training.batch_size * run.step / run.seconds
                shown.set_postfix_str(f"loss {run.loss:.4f}, {rate:,.0f} images/s", refresh=False)
            shown.update()
            if run.step == total or now - saved >= checkpoint_seconds:
                run.watch(loss, path)
                run.save(path)
                saved = time.perf_counter()


class _Run:
    """The state of one training: what a checkpoint holds."""

    def __init__(self, recipe: Recipe, device: torch.device):
        self.recipe, self.device, self.settings = recipe, device, recipe.training
        torch.manual_seed(stream_seed("weights", self.settings.seed))
        self.network = recipe.build_network().to(device).to(memory_format=torch.channels_last).train()
        self.dataset, self.condition = recipe.build_dataset(), recipe.build_condition()
        self.null = recipe.null(recipe.training.batch_size, device)
        self.denoiser, self.objective = recipe.build_denoiser(self.network), recipe.build_objective()
        self.ema = EMA(self.network, self.settings.ema_decay)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.0, eps=1e-8)
        self.step, self.seconds, self.loss = 0, 0.0, math.nan

    def advance(self, images: Tensor, labels: Tensor) -> Tensor:
        """One optimiser step on the next batch; returns the mean loss, still on the device: NaN if the step was spoilt."""
        settings, step = self.settings, self.step
        chosen = batch_indices(len(images), step, settings.batch_size, settings.seed).to(images.device)
        torch.manual_seed(stream_seed("training", settings.seed, step))
        x0 = images[chosen].float() / 127.5 - 1  # [B,C,H,W] in [-1, 1]
        x0 = x0.contiguous(memory_format=torch.channels_last)
        if settings.flip:
            x0 = torch.where(torch.rand(len(x0), 1, 1, 1, device=x0.device) < 0.5, x0.flip(-1), x0)
        t = self.objective.draw_times(len(x0), self.denoiser.schedule.T, x0.device)
        noise, cond = torch.randn_like(x0), self._condition(labels[chosen], chosen)
        with numerics(settings.precision, self.device):
            loss = self.objective(self.denoiser, x0, cond, t, noise).mean()
        self.optimizer.zero_grad(set_to_none=True)
        with float32_as(settings.precision):
            loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), settings.grad_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * warmup(step, settings)
        self.optimizer.step()
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

    def watch(self, loss: Tensor, path: Path) -> None:
        """Read the loss; raise RunError if it is not finite."""
        self.loss = float(loss)
        if not math.isfinite(self.loss):
            kept = f"the last good checkpoint is kept at {path}" if path.exists() else "no checkpoint was written yet"
            raise RunError(f"training diverged: the loss is {self.loss} at step {self.step}; {kept}")

    def save(self, path: Path) -> None:
        """Weights, averaged weights and, until training is over, Adam's moments."""
        tensors: dict[str, Tensor] = {f"weights.{k}": p for k, p in self.network.named_parameters()}
        tensors |= {f"ema.{k}": p for k, p in self.ema.weights.items()}
        if self.step < self.settings.steps:
            for i, state in self.optimizer.state_dict()["state"].items():
                tensors |= {f"adam.{i}.{k}": v for k, v in state.items()}
        save_checkpoint(
            path, tensors, {**self._described(), "step": self.step, "loss": self.loss, "seconds": self.seconds}
        )

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same recipe; raises InputError for another's."""
        tensors, metadata = load_checkpoint(path)
        check_recipe(metadata, self.recipe, path)
        self.step, self.seconds, self.loss = metadata["step"], metadata["seconds"], metadata["loss"]
        with torch.no_grad():
            for k, p in self.network.named_parameters():
                p.copy_(tensors[f"weights.{k}"])
            for k, averaged in self.ema.weights.items():
                averaged.copy_(tensors[f"ema.{k}"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("adam."):
                _, i, k = name.split(".")
                state.setdefault(int(i), {})[k] = tensor
        if state:
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})

    def _described(self) -> dict[str, Any]:
        return {"recipe_key": self.recipe.key, "recipe": self.recipe.model_dump(), "identity": self.recipe.identity()}


def warmup(step: int, settings: Training) -> float:
    """The learning rate's factor at optimiser step `step`, counted from 0: the very first has rate 0, as published."""
    return min(step / settings.warmup, 1.0) if settings.warmup else 1.0


def batch_indices(n: int, step: int, batch_size: int, seed: int) -> Tensor:
    """Which of n images make up the batch at `step`, Int[batch_size]: one endless stream of shuffled epochs."""
    return torch.cat(list(_pieces(n, step * batch_size, (step + 1) * batch_size, seed)))


def _pieces(n: int, start: int, stop: int, seed: int) -> Iterator[Tensor]:
    while start < stop:
        epoch, offset = divmod(start, n)
        piece = _shuffled(n, epoch, seed)[offset : offset + stop - start]
        yield piece
        start += len(piece)


@lru_cache(maxsize=2)
def _shuffled(n: int, epoch: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(stream_seed("epoch", seed, epoch)))


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
    if metadata["step"] < recipe.training.steps:
        raise InputError(
            f"{path}: training stopped at step {metadata['step']} of {recipe.training.steps}; run it again"
        )
    network, prefix = recipe.build_network(), "ema." if ema else "weights."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return network.to(device).to(memory_format=torch.channels_last).eval()
