"""The loop that every training shares: a bar, timed snapshots, a watch over the loss, and one stream of batches.

Nothing random is carried along: every step seeds its own draws from (seed, step), and every epoch its own order. A
snapshot therefore needs the weights, their average, the optimisers' moments and the step number.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from replication.checkpoint import load_checkpoint
from replication.noise import stream_seed
from replication.numerics import float32_as
from replication.progress import bar
from replication.training.data import TrainingData
from replication.training.ema import EMA
from replication.training.settings import Training
from replication.training.snapshots import Snapshots, named, network_tensors
from replication.types import RunError

CHECKPOINT_SECONDS = 30.0
WATCH_STEPS = 50  # reading the loss waits for the device, so not on every step
CURVE = ("step", "loss", "learning_rate", "gradient_norm", "images_per_second", "seconds")  # of a watched step


CURVE_POINTS = 1000  # of a curve that is shown


class Step(NamedTuple):
    """One step's mean loss, NaN if the step was spoilt, and the norm of its gradient before clipping: [], on the device."""

    loss: Tensor
    gradient_norm: Tensor


class TrainingState(ABC):
    """What one training carries from step to step: all of it is in a snapshot."""

    step, seconds, loss = 0, 0.0, math.nan

    def __init__(self, network: nn.Module, settings: Training, device: torch.device):
        self.network = network.to(device).to(memory_format=torch.channels_last).train()
        self.settings, self.device = settings, device
        self.ema = EMA(network, settings.ema_decay, settings.ema_warmup)
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.curve: list[list[float]] = []

    @abstractmethod
    def advance(self, data: TrainingData) -> Step:
        """One step on the next batch."""

    @abstractmethod
    def notes(self) -> dict[str, Any]:
        """What the header of a snapshot holds besides the training's identity and the step."""

    @property
    def suspicious(self) -> bool:
        """Whether a timed snapshot should wait until all looks well again."""
        return False

    def watch(self, step: Step) -> str | None:
        """Read the loss, every WATCH_STEPS steps into the curve; what has gone wrong, or None."""
        self.loss = float(step.loss)
        if not math.isfinite(self.loss):
            return f"the loss is {self.loss}"
        if self.step % WATCH_STEPS == 0:
            before = dict(zip(CURVE, self.curve[-1], strict=True)) if self.curve else {"step": 0, "seconds": 0.0}
            rate = self.settings.batch_size * (self.step - before["step"]) / (self.seconds - before["seconds"])
            learning_rate = self.settings.learning_rate * warmup(self.step - 1, self.settings)
            self.curve.append([self.step, self.loss, learning_rate, float(step.gradient_norm), rate, self.seconds])
        return None

    def finish(self, data: TrainingData) -> None:  # noqa: B027
        """Complete what is used of a snapshot, before one that is kept."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything that `restore` needs."""
        tensors = network_tensors(self.network, self.ema.weights)
        for name, optimizer in self.optimizers.items():
            tensors |= optimizer_tensors(optimizer, f"adam.{name}")
        return tensors | {"curve": torch.tensor(self.curve, dtype=torch.float64).reshape(-1, len(CURVE))}

    def restore(self, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Go on from a snapshot of the same training."""
        self.step, self.seconds, self.loss = header["step"], header["seconds"], header["loss"]
        self.network.load_state_dict(named(tensors, "weights.") | named(tensors, "buffers."))
        for name, averaged in self.ema.weights.items():
            averaged.copy_(tensors[f"ema.{name}"])
        for name, optimizer in self.optimizers.items():
            restore_optimizer(optimizer, tensors, f"adam.{name}")
        self.curve = tensors["curve"].tolist()


def train_to_the_end(
    snapshots: Snapshots,
    steps: int,
    start: Callable[[], TrainingState],
    load: Callable[[], TrainingData],
    milestones: Collection[int],
    progress: bool,
    checkpoint_seconds: float,
    what: str = "training",
) -> Path:
    """The snapshot after `steps` steps: found, or trained from the last one before it, with one at each milestone.

    `start` and `load` give the state before the first step and the training data, and are called only if there is something
    to do. Raises RunError when training diverges: the last good snapshot stays.
    """
    unfinished = snapshots.unfinished(steps)
    if snapshots.found(steps):
        unfinished.unlink(missing_ok=True)  # of a process that was killed between the two
        return snapshots.after(steps)
    state, behind = start(), snapshots.before(steps)
    if behind:
        tensors, header = load_checkpoint(behind[1])
        snapshots.check(header, behind[1])
        state.restore(tensors, header)
    data, started = load(), time.perf_counter()
    saved, done_before = started, state.seconds
    with bar(steps, what, "step", state.step, progress) as shown:
        while state.step < steps:
            step = state.advance(data)
            now = time.perf_counter()
            state.seconds = done_before + now - started
            kept = state.step == steps or state.step in milestones
            due = kept or now - saved >= checkpoint_seconds
            if due or state.step % WATCH_STEPS == 0:
                if trouble := state.watch(step):
                    last = snapshots.before(steps)
                    left = f"the last good checkpoint is kept at {last[1]}" if last else "no checkpoint was written yet"
                    raise RunError(f"training diverged at step {state.step}: {trouble}; {left}")
                rate = state.settings.batch_size * state.step / state.seconds
                shown.set_postfix_str(f"loss {state.loss:.4f}, {rate:,.0f} images/s", refresh=False)
            shown.update()
            if kept:
                state.finish(data)
            if kept or (due and not state.suspicious):
                path = snapshots.after(state.step) if kept else unfinished
                made = {"loss": state.loss, "seconds": state.seconds, **state.notes()}
                snapshots.save(path, state.tensors(), state.step, made)
            if due:
                saved = time.perf_counter()
    unfinished.unlink(missing_ok=True)
    return snapshots.after(steps)


def curve_in(path: Path) -> dict[str, list[float]]:
    """The curve in a snapshot by the columns of CURVE, at most CURVE_POINTS; empty for weights that were given."""
    points = load_checkpoint(path, ("curve",))[0].get("curve", torch.empty(0, len(CURVE)))
    shown = points[:: max(1, -(-len(points) // CURVE_POINTS))]
    return dict(zip(CURVE, shown.T.tolist(), strict=True))


def descend(
    loss: Tensor, network: nn.Module, optimizer: torch.optim.Optimizer, step: int, settings: Training
) -> Tensor:
    """One optimiser step at step number `step`, counted from 0; the norm of the gradient before clipping."""
    optimizer.zero_grad(set_to_none=True)
    with float32_as(settings.precision):
        loss.backward()
    norm = nn.utils.clip_grad_norm_(network.parameters(), settings.grad_clip or math.inf)
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * warmup(step, settings)
    optimizer.step()
    return norm


def warmup(step: int, settings: Training) -> float:
    """The learning rate's factor at optimiser step `step`, counted from 0: the very first has rate 0, as published."""
    return min(step / settings.warmup, 1.0) if settings.warmup else 1.0


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """The moments, under `<prefix>.<number of the parameter>.<name>`."""
    states = optimizer.state_dict()["state"].items()
    return {f"{prefix}.{i}.{name}": tensor for i, state in states for name, tensor in state.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Take the moments back; where there are none the optimiser is as new."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(f"{prefix}."):
            i, moment = name.removeprefix(f"{prefix}.").split(".")
            state.setdefault(int(i), {})[moment] = tensor
    if state:
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


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
