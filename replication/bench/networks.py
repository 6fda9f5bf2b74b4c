"""A network's forward pass and training step beside diffusers' with equal weights.

diffusers takes part twice: as it comes (eager, float32, PyTorch's own flags), and at its best (our precision, channels_last,
fused optimiser, compiled where ours is).
"""

import copy
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from replication.acceleration import WARMUPS, accelerated
from replication.bench import peers
from replication.bench.peers import BEST, DEFAULTS, LATENT
from replication.bench.turns import Run, Task, Team, Work, apart, pays_on, together_on
from replication.cost import FORWARDS_PER_STEP
from replication.numerics import Precision
from replication.report.speed import OURS
from replication.training.data import Pixels
from replication.training.processes import ALONE, Processes
from replication.training.recipe import Recipe
from replication.training.train import NetworkState

FLOAT = 4  # bytes
CPU = torch.device("cpu")
SERIES = 4  # steps of a training at a time, as it makes them: processes of a team take a while to begin
THREADS, BEST_TOGETHER = "one process, all threads", "diffusers, best, in processes"
# by a step, of each weight: itself, Adam's two moments and the average are read and written, the gradient too
TOUCHED_BY_STEP = 10


class Size(NamedTuple):
    """What is measured on a kind of device: images at a time by network, and the precision."""

    forward: Mapping[str, int]
    training: Mapping[str, int]
    precision: Precision


SIZES = {
    "cuda": Size(
        {"ddpm-cifar10": 512, "dit-s/2": 256, "dit-xl/2": 64, LATENT: 512}, {"ddpm-cifar10": 256, LATENT: 256}, "bf16"
    ),
    "cpu": Size(
        {"ddpm-digits": 300, "ddpm-cifar10": 8, "dit-s/2": 8, LATENT: 16}, {"ddpm-digits": 128, LATENT: 16}, "float32"
    ),
}


def forward(device: torch.device) -> list[Task]:
    """Forward passes; the largest difference to diffusers' is relative to the largest output, in our precision."""
    size = SIZES[device.type]
    return [
        Task(f"{name}, batch {batch}, {size.precision}", partial(_forward, name, batch, size.precision, device))
        for name, batch in size.forward.items()
    ]


def training(device: torch.device) -> list[Task]:
    """Whole training steps: batch, gradient, clipping, Adam and the moving average.

    On the CPU as `replicate run` trains, by a process for each thread, and in one process; diffusers' loop in one, and at its
    best in as many processes too, whose gradients are averaged as ours are.
    """
    size, together = SIZES[device.type], together_on(device)
    return [
        Task(
            f"{name}, batch {batch}, {size.precision}{together}",
            partial(_training, name, batch, size.precision, device),
        )
        for name, batch in size.training.items()
    ]


@torch.no_grad()
def _forward(name: str, batch: int, precision: Precision, device: torch.device) -> Work:
    both, each = peers.pair(name), peers.cost(name)
    x = torch.randn(batch, both.network.in_channels, both.network.resolution, both.network.resolution, device=device)
    timestep = torch.full((batch,), 500.0, device=device)
    cond = peers.labels(both.network, batch)
    given = x, timestep, None if cond is None else cond.to(device)
    network = peers.ready(both.network, device).requires_grad_(False)
    runs: dict[str, Run] = {OURS: peers.evaluation(accelerated(network, device), precision, device, *given)}
    notes = {}
    if both.peer is not None:
        runs[DEFAULTS] = peers.evaluation(peers.plain(both.peer, device), None, device, *given)
        runs[BEST] = peers.evaluation(peers.compiled(peers.ready(both.peer, device), device), precision, device, *given)
        notes["largest difference"] = lambda _: apart(runs[OURS](), runs[BEST]().sample)
    touched = FLOAT * (each.parameters + x.numel() * 2)
    work = each.multiply_adds * batch
    return Work(runs, work, touched, batch, precision, 2, peers.missing(both.peer), notes)


def training_state(
    name: str, batch: int, precision: Precision, device: torch.device, processes: Processes = ALONE
) -> tuple[NetworkState, Pixels]:
    """A training of the network on noise, before its first step, and what it is trained on."""
    network = peers.pair(name).network
    shape = network.in_channels, network.resolution, network.resolution
    images = torch.randint(0, 256, (4 * batch, *shape), dtype=torch.uint8)
    data = Pixels(images, torch.zeros(len(images), dtype=torch.int64), device)
    part, options = peers.part_of(name)
    settings = {
        "steps": 10**6,
        "batch_size": batch,
        "learning_rate": 1e-4,
        "warmup": 0,
        "ema_decay": 0.999,
        "flip": False,
        "precision": precision,
    }
    recipe = Recipe.model_validate(
        {
            "dataset": "digits" if shape[0] == 1 else "cifar10",
            "network": {"name": part, **options},
            "schedule": {"name": "linear", "T": 1000},
            "parameterization": "eps",
            "objective": "simple",
            "training": settings,
        }
    )
    return NetworkState(recipe, device, processes), data


def _training(name: str, batch: int, precision: Precision, device: torch.device) -> Work:
    both, each, (state, data) = peers.pair(name), peers.cost(name), training_state(name, batch, precision, device)
    state.prepare(data)
    runs: dict[str, Run] = {OURS: lambda: state.advance(data)}
    teams: dict[str, Team] = {}
    if pays_on(device):
        teams[OURS], runs[THREADS] = Team(partial(_steps, name, batch, precision)), runs[OURS]
        if both.peer is not None:
            teams[BEST_TOGETHER] = Team(partial(_steps_of_diffusers, name, batch, precision))
    if both.peer is not None:
        first = copy.deepcopy(both.peer).to(device).train()
        best = both.peer.to(device).to(memory_format=torch.channels_last).train()
        runs[DEFAULTS] = _loop_of_diffusers(first, first, data, batch, "float32", best=False)
        runs[BEST] = _loop_of_diffusers(best, peers.compiled(best, device), data, batch, precision, best=True)
    multiply_adds = SERIES * FORWARDS_PER_STEP * each.multiply_adds * batch
    touched = SERIES * FLOAT * TOUCHED_BY_STEP * each.parameters

    def close() -> None:
        for team in teams.values():
            team.close()

    around = dict.fromkeys(teams, nullcontext)  # what its processes do is no disturbance
    every: dict[str, Run] = {**{name: partial(_series, run) for name, run in runs.items()}, **teams}
    missing = peers.missing(both.peer)
    return Work(every, multiply_adds, touched, SERIES * batch, precision, WARMUPS, missing, close=close, around=around)


def _series(step: Run) -> None:
    for _ in range(SERIES):
        step()


def _steps(name: str, batch: int, precision: Precision, processes: Processes) -> Run:
    """Ours, in one of several processes."""
    state, data = training_state(name, batch, precision, CPU, processes)
    state.prepare(data)

    def step() -> None:
        state.advance(data)
        processes.as_first(False, False)  # as training/loop.py asks after each

    return partial(_series, step)


def _steps_of_diffusers(name: str, batch: int, precision: Precision, processes: Processes) -> Run:
    both, data = peers.pair(name), training_state(name, batch, precision, CPU)[1]
    assert both.peer is not None
    best = both.peer.to(memory_format=torch.channels_last).train()
    rows = processes.rows(batch)
    return partial(_series, _loop_of_diffusers(best, best, data, rows.stop - rows.start, precision, True, processes))


def _loop_of_diffusers(
    network: nn.Module,
    run: Callable[..., Any],
    data: Pixels,
    batch: int,
    precision: Precision,
    best: bool,
    processes: Processes = ALONE,
) -> Run:
    """A step in the parts of its own example for unconditional images; `run` is the network, compiled or not."""
    from diffusers import DDPMScheduler
    from diffusers.training_utils import EMAModel

    scheduler, device = DDPMScheduler(), data.device
    average = EMAModel(network.parameters(), decay=0.999, foreach=best)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True if best else None)

    def step() -> None:
        chosen = torch.randint(0, len(data), (batch,), device=device)
        x0 = data.batch(chosen, flip=False)
        noise, t = torch.randn_like(x0), torch.randint(0, 1000, (batch,), device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = F.mse_loss(run(scheduler.add_noise(x0, noise, t), t).sample.float(), noise)
        loss.backward()
        processes.average_gradients(network)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(network.parameters())

    return step
