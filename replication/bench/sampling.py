"""The sampling loop over its bare forward passes, beside diffusers' pipeline; and on a machine that is not idle."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn

from replication.acceleration import accelerated
from replication.bench.networks import FLOAT
from replication.bench.peers import BEST, DEFAULTS, compiled, cost, evaluation, labels, missing, pair, plain, ready
from replication.bench.turns import Run, Seconds, Task, Team, Work, company, pays_on, together_on
from replication.diffusion import Denoiser, sample
from replication.metrics.timing import processors
from replication.noise import ImageNoise
from replication.numerics import Precision, numerics
from replication.registry import SAMPLERS, SCHEDULES, SPACINGS
from replication.report.speed import OURS
from replication.training.processes import Processes

PASSES = "bare forward passes"
COMPANY = "beside a busy process"
THREADS, THREADS_COMPANY = "one process, all threads", "the same beside a busy process"


class Loop(NamedTuple):
    """What is sampled: a network, images at a time, steps, by a sampler."""

    network: str
    batch: int
    sampler: str
    steps: int

    def __str__(self) -> str:
        return f"{self.network}, {self.sampler} x {self.steps}, batch {self.batch}"


LOOPS = {
    "cuda": [
        Loop("ddpm-cifar10", 512, "ddim", 20),
        Loop("ddpm-cifar10", 512, "ancestral", 20),
        Loop("dit-s/2", 256, "ddim", 20),
    ],
    "cpu": [
        Loop("ddpm-digits", 300, "ddim", 20),
        Loop("ddpm-digits", 300, "ancestral", 20),
        Loop("ddpm-cifar10", 8, "ddim", 4),
        Loop("dit-s/2", 2, "ddim", 10),
    ],
}
PRECISION: dict[str, Precision] = {"cuda": "bf16", "cpu": "float32"}


def sampling(device: torch.device) -> list[Task]:
    """Our loop as a cell runs it, the evaluations that it consists of by themselves, and diffusers' pipeline."""
    precision = PRECISION[device.type]
    return [Task(f"{loop}, {precision}", partial(_sampling, loop, device)) for loop in LOOPS[device.type]]


def in_company(device: torch.device) -> list[Task]:
    """The first loop as rows are drawn (harness/companions.py), on the machine as it is and beside a process that keeps one
    processor busy; and in one process, as it would be drawn without.
    """
    loop = LOOPS[device.type][0]
    return [Task(f"{loop}, {PRECISION[device.type]}{together_on(device)}", partial(_in_company, loop, device))]


def _sampling(loop: Loop, device: torch.device) -> Work:
    both, precision = pair(loop.network), PRECISION[device.type]
    network = accelerated(ready(both.network, device).requires_grad_(False), device)
    shape = (loop.batch, both.network.in_channels, both.network.resolution, both.network.resolution)
    cond = labels(both.network, loop.batch)
    cond = None if cond is None else cond.to(device)
    runs: dict[str, Run] = {
        OURS: partial(run_loop, network, loop, shape, device, cond),
        PASSES: evaluation(_passes, precision, device, network, loop.steps, shape, device, cond),
    }
    absent = missing(both.peer)
    if cond is not None:
        absent = dict.fromkeys((DEFAULTS, BEST), "its pipeline decodes")
    elif both.peer is not None:
        runs[DEFAULTS] = _pipeline(plain(both.peer, device), loop, None, device)
        runs[BEST] = _pipeline(ready(both.peer, device), loop, precision, device)
    evaluations = loop.batch * loop.steps
    touched = FLOAT * loop.steps * cost(loop.network).parameters
    work = cost(loop.network).multiply_adds * evaluations
    return Work(runs, work, touched, loop.batch, precision, missing=absent)


def _in_company(loop: Loop, device: torch.device) -> Work:
    """Of the fair share: beside one thread more than it has processors, a run of p threads has p / (p + 1) of its speed."""
    whole, fair = _sampling(loop, device), len(processors()) / (len(processors()) + 1)
    threads, team = whole.runs[OURS], Team(partial(_share, loop)) if pays_on(device) else None
    ours: Run = threads if team is None else team

    def of_fair(alone: str, beside: str, seconds: Seconds) -> str:
        return f"{median(a / b for a, b in zip(seconds[alone], seconds[beside], strict=True)) / fair:.0%}"

    runs = {OURS: ours, COMPANY: ours, THREADS: threads, THREADS_COMPANY: threads}
    notes = {
        "of the fair share": partial(of_fair, OURS, COMPANY),
        "of the fair share, one process": partial(of_fair, THREADS, THREADS_COMPANY),
    }
    around: dict[str, Callable[[], AbstractContextManager[object]]] = {COMPANY: company, THREADS_COMPANY: company}
    around[OURS] = nullcontext  # what its processes do is no disturbance
    close = whole.close if team is None else team.close
    return replace(whole, runs=runs, missing={}, notes=notes, around=around, close=close)


def _share(loop: Loop, processes: Processes) -> Run:
    """In one of several processes."""
    device, rows = torch.device("cpu"), processes.rows(loop.batch)
    network = ready(pair(loop.network).network, device).requires_grad_(False)
    shape = rows.stop - rows.start, network.in_channels, network.resolution, network.resolution
    return partial(run_loop, network, loop, shape, device)


def _passes(network: nn.Module, steps: int, shape: tuple[int, ...], device: torch.device, cond: Tensor | None) -> None:
    x, timestep = torch.zeros(shape, device=device), torch.zeros(shape[0], device=device)
    for _ in range(steps):
        network(x, timestep, cond)


def run_loop(
    network: nn.Module, loop: Loop, shape: tuple[int, ...], device: torch.device, cond: Tensor | None = None
) -> Tensor:
    """As a cell runs it: x_0 [B,C,H,W] = shape, of noise."""
    schedule = SCHEDULES.build("linear", T=1000)
    noise = ImageNoise(0, torch.arange(shape[0]), device)
    times, sampler = SPACINGS.build("uniform")(schedule, loop.steps), SAMPLERS.build(loop.sampler)
    with torch.no_grad(), numerics(PRECISION[device.type], device):
        return sample(Denoiser(network, schedule), sampler, times, noise.prior(shape), noise, clip="x0", cond=cond)


def _pipeline(unet: nn.Module, loop: Loop, precision: Precision | None, device: torch.device) -> Run:
    from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler

    pipeline = DDIMPipeline(unet, DDIMScheduler()) if loop.sampler == "ddim" else DDPMPipeline(unet, DDPMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    if precision is not None:
        pipeline.unet = compiled(unet, device)
    run = partial(pipeline, batch_size=loop.batch, num_inference_steps=loop.steps, output_type="np")
    return evaluation(run, precision, device)
