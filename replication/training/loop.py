"""The loop that every training shares: a bar, timed checkpoints, a watch over the loss, and one stream of batches.

Nothing random is carried along: every step seeds its own draws from (seed, step), and every epoch its own order. A
checkpoint therefore needs the weights, their average, the optimisers' moments and the step number.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from replication.noise import stream_seed
from replication.numerics import float32_as
from replication.progress import bar
from replication.training.data import TrainingData
from replication.training.settings import Training
from replication.types import InputError, RunError

CHECKPOINT_SECONDS = 30.0
GIVEN = "given"  # a checkpoint's note of the SHA-256 of the published file that it was made from
WATCH_STEPS = 50  # reading the loss waits for the device, so not on every step


class Run(ABC):
    """The state of one training: what a checkpoint holds."""

    settings: Training
    device: torch.device
    step, seconds, loss = 0, 0.0, math.nan

    @abstractmethod
    def advance(self, data: TrainingData) -> Tensor:
        """One step on the next batch; the mean loss, still on the device: NaN if the step was spoilt."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write everything that `restore` needs, atomically."""

    @abstractmethod
    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same settings; raises InputError for another's, and for a corrupt one."""

    def watch(self, loss: Tensor, path: Path) -> None:
        """Read the loss; raise RunError if it is not finite."""
        self.loss = float(loss)
        if not math.isfinite(self.loss):
            raise RunError(f"training diverged: the loss is {self.loss} at step {self.step}; {kept(path)}")


def run_to_the_end(
    run: Run,
    path: Path,
    load: Callable[[], TrainingData],
    progress: bool,
    checkpoint_seconds: float,
    what: str = "training",
) -> None:
    """Go on from the checkpoint at `path`, if there is one, to the last step; the result is at `path`.

    `load` gives the training data, and is called only if there is something to do. Raises what the run raises.
    """
    if path.exists():
        run.restore(path)
    total = run.settings.steps
    if run.step == total:
        return
    data, started = load(), time.perf_counter()
    saved, done_before = started, run.seconds
    with bar(total, what, "step", run.step, progress) as shown:
        while run.step < total:
            loss = run.advance(data)
            now = time.perf_counter()
            run.seconds = done_before + now - started
            if run.step % WATCH_STEPS == 0 or run.step == total:
                run.watch(loss, path)
                rate = run.settings.batch_size * run.step / run.seconds
                shown.set_postfix_str(f"loss {run.loss:.4f}, {rate:,.0f} images/s", refresh=False)
            shown.update()
            if run.step == total or now - saved >= checkpoint_seconds:
                run.watch(loss, path)
                run.save(path)
                saved = time.perf_counter()


def kept(path: Path) -> str:
    """What a message about a diverged training says of its checkpoint."""
    return f"the last good checkpoint is kept at {path}" if path.exists() else "no checkpoint was written yet"


def require_finished(step: int, settings: Training, path: Path) -> None:
    """Raises InputError if the checkpoint is of an unfinished training."""
    if step < settings.steps:
        raise InputError(f"{path}: training stopped at step {step} of {settings.steps}; run it again")


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
