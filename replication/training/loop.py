"""The loop that every training shares: a bar, timed snapshots, a watch over the loss, and one stream of batches.

Nothing random is carried along: every step seeds its own draws from (seed, step), and every epoch its own order. A
snapshot therefore needs the weights, their average, the optimisers' moments and the step number.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor, nn

from replication.acceleration import replayed
from replication.checkpoint import load_checkpoint
from replication.deadline import NEVER, Deadline, OutOfTime
from replication.metrics.machine import MACHINE, Machine
from replication.metrics.timing import conditions
from replication.noise import stream_seed
from replication.numerics import float32_as
from replication.progress import Bar
from replication.training.data import TrainingData
from replication.training.first_stage import FirstStage
from replication.training.processes import ALONE, Processes, for_whole
from replication.training.recipe import Recipe
from replication.training.settings import Training
from replication.training.snapshots import ENCODER, Snapshots, named, network_tensors
from replication.types import RunError

CHECKPOINT_SECONDS = 30.0
MADE_BY = "made_by"  # in the header of a snapshot: under which conditions its seconds were
SAVING_SECONDS = 8.0  # before a deadline, for the last snapshot and the row's curve
WATCH_STEPS = 50  # reading the loss waits for the device, so not on every step
# of a watched step
CURVE = ("step", "loss", "learning_rate", "gradient_norm", "images_per_second", "seconds", *MACHINE)
CURVE_POINTS = 1000  # of a curve that is shown


class EMA:
    """Exponential moving average: `weights` maps parameter names to averaged tensors. decay in [0, 1), 0.9999 in both papers.

    DDPM's decay is constant and starts from the weights after the first step (the official decay of 1e-10 there). LDM's
    (warmup) starts from the initial weights and climbs: after step n it is at most (1 + n) / (10 + n).
    """

    def __init__(self, network: nn.Module, decay: float, warmup: bool = False):
        self.decay, self.warmup = decay, warmup
        self.weights: dict[str, Tensor] = {k: p.detach().clone() for k, p in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """After optimiser step number `step`, counted from 1."""
        first = 0.0 if step == 1 else self.decay
        decay = min(self.decay, (1 + step) / (10 + step)) if self.warmup else first
        torch._foreach_lerp_(list(self.weights.values()), list(network.parameters()), 1 - decay)


class Step(NamedTuple):
    """One step's mean loss over this process's rows, NaN if the step was spoilt, and the norm of the whole gradient before
    clipping: [], on the device.
    """

    loss: Tensor
    gradient_norm: Tensor


class TrainingState(ABC):
    """What one training carries from step to step: all of it is in a snapshot.

    `of` is what is trained, `network` where its weights are; `beside` and `optimizers`: by name, what else is kept;
    `starts`: from which step on an optimiser works.
    """

    kind: str  # of `of`, in the header of a snapshot
    stream: str  # of the seeds of the steps
    betas = (0.9, 0.999)
    step, seconds, loss = 0, 0.0, math.nan

    def __init__(self, of: Recipe | FirstStage, network: nn.Module, device: torch.device, processes: Processes = ALONE):
        self.of, self.settings, self.device, self.processes = of, of.training, device, processes
        self.network = self.placed(network)
        self.ema = EMA(network, self.settings.ema_decay, self.settings.ema_warmup)
        self.optimizers, self.starts = {"network": self.optimizer(network)}, {"network": 0}
        # what meets other processes is not recorded
        self._learn = self.learn if processes.several else replayed(self.learn, device, effects=True)
        self.beside: dict[str, nn.Module] = {}
        self.curve: list[list[float]] = []
        self.machine = Machine(device)

    def placed(self, network: nn.Module) -> nn.Module:
        if self.processes.several:
            for_whole(network, self.settings.part_size, self.processes.rows(self.settings.part_size))
        return network.to(self.device).to(memory_format=torch.channels_last).train()

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Fused; on CUDA its learning rate lies on the device, so that a recorded step takes each step's."""
        cuda, decay = self.device.type == "cuda", self.settings.weight_decay
        rate = torch.zeros((), device=self.device) if cuda else 0.0
        return torch.optim.AdamW(
            network.parameters(), rate, self.betas, eps=1e-8, weight_decay=decay, fused=True, capturable=cuda
        )

    @property
    def share(self) -> float:
        """Times the mean over this process's images of a part: the mean of that over the processes is the part's mean."""
        return self.processes.share(self.settings.part_size)

    @property
    def parts(self) -> list[slice]:
        """What of a batch goes through this process at once, part after part."""
        size = self.settings.part_size
        own = self.processes.rows(size)
        return [slice(i * size + own.start, i * size + own.stop) for i in range(self.settings.accumulate)]

    def advance(self, data: TrainingData) -> Step:
        """One step on the next batch."""
        drawn = self.drawn(*self.batch(data))
        for name, optimizer in self.optimizers.items():
            since = max(self.step - self.starts[name], 0)
            rate = self.settings.learning_rate * warmup(since, self.settings)
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
        done = self._learn(*drawn)
        self.step += 1
        self.ema.update(self.network, self.step)
        return done

    def batch(self, data: TrainingData) -> tuple[Tensor, Tensor, Tensor]:
        """x_0, labels and numbers of the next step's examples; the step's random draws are seeded here.

        Of several processes each has the whole batch, so that draws are those of one, and x_0 at least of its own parts.
        """
        settings = self.settings
        rows = [torch.arange(part.start, part.stop) for part in self.parts]
        own = torch.cat(rows) if self.processes.several else None
        chosen = batch_indices(len(data), self.step, settings.batch_size, settings.seed, self.device)
        torch.manual_seed(stream_seed(self.stream, settings.seed, self.step))
        return data.batch(chosen, settings.flip, own), data.labels[chosen], chosen

    def prepare(self, data: TrainingData) -> None:  # noqa: B027
        """What only a first step takes, before the clock starts."""

    @abstractmethod
    def drawn(self, x0: Tensor, labels: Tensor, chosen: Tensor) -> tuple[Any, ...]:
        """What `learn` takes for the examples numbered `chosen`, Int[B]: all that is random is drawn here, seeded already."""

    @abstractmethod
    def learn(self, *drawn: Any) -> Step:
        """One step: kernels on the device alone, which may be recorded."""

    @property
    def suspicious(self) -> bool:
        """Whether a timed snapshot should wait until all looks well again."""
        return False

    def judge(self) -> str | None:
        """What has gone wrong for too long, every WATCH_STEPS steps; None if nothing has."""
        return None

    def watch(self, step: Step) -> str | None:
        """Everywhere: read the loss, every WATCH_STEPS steps into the curve; what has gone wrong, or None."""
        self.loss = float(self.processes.mean(step.loss))
        if not math.isfinite(self.loss):
            return f"the loss is {self.loss}"
        if self.step % WATCH_STEPS:
            return None
        before = dict(zip(CURVE, self.curve[-1], strict=True)) if self.curve else {"step": 0, "seconds": 0.0}
        rate = self.settings.batch_size * (self.step - before["step"]) / (self.seconds - before["seconds"])
        learning_rate = self.settings.learning_rate * warmup(self.step - 1, self.settings)
        figures = [self.step, self.loss, learning_rate, float(step.gradient_norm), rate, self.seconds]
        self.curve.append([*figures, *self.machine.read()])
        return self.judge()

    def finish(self, data: TrainingData) -> None:  # noqa: B027
        """Complete what is used of a snapshot, before one that is kept."""

    def notes(self) -> dict[str, Any]:
        """What a snapshot's header holds besides: among others all that is trained, as it is when it ends here."""
        reached = self.of.with_fields(training=self.settings.with_fields(steps=self.step))
        took = {"seconds": self.seconds, MADE_BY: conditions(self.device)}
        return {"loss": self.loss, **took, self.kind: reached.model_dump()}

    def tensors(self) -> dict[str, Tensor]:
        """Everything that `restore` needs."""
        tensors = network_tensors(self.network, self.ema.weights)
        for name, module in self.beside.items():
            tensors |= {f"{name}.{key}": tensor for key, tensor in module.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            moments = optimizer.state_dict()["state"].items()
            tensors |= {f"adam.{name}.{i}.{key}": tensor for i, state in moments for key, tensor in state.items()}
        return tensors | {"curve": torch.tensor(self.curve, dtype=torch.float64).reshape(-1, len(CURVE))}

    def restore(self, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Go on from a snapshot of the same training."""
        self.step, self.seconds, self.loss = header["step"], header["seconds"], header["loss"]
        self.network.load_state_dict(named(tensors, "weights.") | named(tensors, "buffers."))
        for name, averaged in self.ema.weights.items():
            averaged.copy_(tensors[f"ema.{name}"])
        for name, module in self.beside.items():
            module.load_state_dict(named(tensors, f"{name}."))
        for name, optimizer in self.optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            weights = [p for group in optimizer.param_groups for p in group["params"]]
            for key, tensor in named(tensors, f"adam.{name}.").items():
                i, moment = key.split(".")
                # in its weight's layout, which fused kernels want and a file does not keep
                placed = torch.empty_like(weights[int(i)]).copy_(tensor) if tensor.ndim else tensor
                state.setdefault(int(i), {})[moment] = placed
            if state:  # an optimiser without moments has not made a step yet
                optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        self.curve = _whole(tensors["curve"]).tolist()


class Sitting(TypedDict, total=False):
    """What of a call changes nothing of the weights, by its name; `milestones`: steps at which a snapshot is kept on the way.

    Of several `processes` all make the call.
    """

    milestones: Collection[int]
    progress: bool
    checkpoint_seconds: float
    deadline: Deadline
    processes: Processes


def train_to_the_end(
    snapshots: Snapshots,
    steps: int,
    start: Callable[[], TrainingState],
    load: Callable[[], TrainingData],
    what: str = "training",
    milestones: Collection[int] = (),
    progress: bool = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    deadline: Deadline = NEVER,
    processes: Processes = ALONE,
) -> Path:
    """The snapshot after `steps` steps: found, or trained from the last one before it, with one at each milestone.

    `start` and `load` give the state before the first step and the training data, and are called only if there is something
    to do. Of several processes the first one's files and clock count.
    Raises InputError for a snapshot that is corrupt, of another training, or trained on latents of another encoder;
    RunError when training diverges: the last good snapshot stays; OutOfTime at the deadline, with a snapshot to go on from.
    """
    unfinished = snapshots.unfinished(steps)

    def there() -> Path | None:
        """The last snapshot up to that step."""
        if snapshots.found(steps):
            unfinished.unlink(missing_ok=True)  # of a process that was killed between the two
            return snapshots.after(steps)
        deadline.require(SAVING_SECONDS, what)
        return snapshots.whole_before(steps)

    behind = processes.on_first(there)
    if behind == snapshots.after(steps):
        return behind
    state = start()
    data = processes.first_ahead(load)
    if behind:
        tensors, header = load_checkpoint(behind)
        snapshots.check(header, behind)
        snapshots.check_encoder(header, behind, data.encoder)
        state.restore(tensors, header)
    state.prepare(data)
    saved = started = time.perf_counter()
    done_before = state.seconds
    with Bar(steps, what, "step", state.step, progress) as shown:
        while state.step < steps:
            step = state.advance(data)
            now = time.perf_counter()
            state.seconds = done_before + now - started
            kept = state.step == steps or state.step in milestones
            over = not kept and deadline.left() < SAVING_SECONDS
            due = kept or over or now - saved >= checkpoint_seconds
            over, due = processes.as_first(over, due)
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
                path = snapshots.own(state.step) if kept else unfinished
                notes = {ENCODER: data.encoder, **state.notes()}
                processes.on_first(partial(snapshots.save, path, state.tensors(), state.step, notes))
            if over:
                raise OutOfTime(f"{what}: out of time after {state.step:,} of {steps:,} steps")
            if due:
                saved = time.perf_counter()
    if processes.first:
        unfinished.unlink(missing_ok=True)
    return snapshots.after(steps)


def curve_in(path: Path) -> dict[str, list[float]]:
    """The curve in a snapshot by the columns of CURVE, at most CURVE_POINTS; empty for weights that were given.

    What nobody said of the machine is left out.
    """
    points = load_checkpoint(path, ("curve",))[0].get("curve", torch.empty(0, len(CURVE)))
    shown = _whole(points[:: max(1, -(-len(points) // CURVE_POINTS))])
    columns = dict(zip(CURVE, shown.T.tolist(), strict=True))
    return {name: values for name, values in columns.items() if name not in MACHINE or not all(map(math.isnan, values))}


def _whole(points: Tensor) -> Tensor:
    """Of snapshots that were written before the last columns were there: those are unknown."""
    return nn.functional.pad(points, (0, len(CURVE) - points.shape[1]), value=math.nan)


def descend(
    losses: Iterable[Tensor],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: Training,
    processes: Processes = ALONE,
) -> Step:
    """One optimiser step on the mean of the losses of a batch's parts, and over the processes.

    The next loss is asked for when the gradient of the one before is done: memory need only hold one part.
    """
    optimizer.zero_grad(set_to_none=True)
    seen = [add_gradient(loss, settings) for loss in losses]
    processes.average_gradients(network)
    norm = nn.utils.clip_grad_norm_(network.parameters(), settings.grad_clip or math.inf)
    optimizer.step()
    return Step(unless_spoilt(torch.stack(seen).mean(), norm), norm)


def add_gradient(loss: Tensor, settings: Training) -> Tensor:
    """Add the gradient of a part's loss to what the parameters have; returns the loss alone."""
    with float32_as(settings.precision):
        (loss / settings.accumulate).backward()
    return loss.detach()


def unless_spoilt(loss: Tensor, *numbers: Tensor) -> Tensor:
    """The loss, NaN unless these numbers are finite: weights after a gradient that is not are worth no snapshot."""
    return torch.where(torch.stack(numbers).isfinite().all(), loss.detach(), math.nan)


def warmup(step: int, settings: Training) -> float:
    """The learning rate's factor at optimiser step `step`, counted from 0: the very first has `warmup_start`, DDPM's 0."""
    start = settings.warmup_start
    return min(start + (1 - start) * step / settings.warmup, 1.0) if settings.warmup else 1.0


def batch_indices(n: int, step: int, batch_size: int, seed: int, device: torch.device | str = "cpu") -> Tensor:
    """Which of n images make up the batch at `step`, Int[batch_size]: one endless stream of shuffled epochs.

    The device is waited for once an epoch, when its order is copied there.
    """
    pieces, start, stop = [], step * batch_size, (step + 1) * batch_size
    while start < stop:
        epoch, offset = divmod(start, n)
        pieces.append(_shuffled(n, epoch, seed, device)[offset : offset + stop - start])
        start += len(pieces[-1])
    return torch.cat(pieces)


@lru_cache(maxsize=2)
def _shuffled(n: int, epoch: int, seed: int, device: torch.device | str) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(stream_seed("epoch", seed, epoch))).to(device)
