"""Where the time of a step goes: the device's kernels by kind, their number, and how long it is at work at all."""

import copy
import re
from functools import partial

import torch
from torch.profiler import ProfilerActivity, profile

from replication.acceleration import WARMUPS, Policy, accelerated
from replication.bench.networks import SIZES, training_state
from replication.bench.peers import evaluation
from replication.bench.turns import Run, Task, Work
from replication.report.speed import OURS

STEPS = 5  # of which the mean is printed
# A kernel's kind is the first that is found in its name; on the CPU operations have one. Compiled code says what is fused.
KINDS = {
    "optimiser": r"multi_tensor|adam|foreach|lerp",
    "products": r"conv(?!ert)|gemm|cutlass|cudnn|xmma|nvjet|flash|fmha|attention|addmm|mm$|wgrad|dgrad",
    "norms, sums": r"norm|moments|red_fused|per_fused|reduce|welford|sum|mean",
    "copies": r"copy|memcpy|memset|transpose|nhwc|cat",
    "pointwise": r"fused|elementwise|mul|add|silu|div|sub|distribution|dropout|normal",
    "others": r"",
}


def breakdown(device: torch.device) -> list[Task]:
    """Of evaluations and of training steps; on CUDA as they are, replayed, and compiled too."""
    precision = SIZES[device.type].precision
    return [
        Task(f"{step}, {name}, batch {batch}, {precision}, {how}", partial(_of_step, step, name, batch, how, device))
        for how in (("eager", "replayed", "compiled") if device.type == "cuda" else ("eager",))
        for name, batch in SIZES[device.type].training.items()
        for step in ("evaluation", "training step")
    ]


def _of_step(step: str, name: str, batch: int, how: str, device: torch.device) -> Work:
    precision, before = SIZES[device.type].precision, (Policy.replays, Policy.compiles)
    Policy.replays, Policy.compiles = how != "eager", how == "compiled"
    try:
        state, data = training_state(name, batch, precision, device)
        if step == "evaluation":
            x, _, _ = state.batch(data)
            network = accelerated(copy.deepcopy(state.network).requires_grad_(False), device)
            run = evaluation(network, precision, device, x, torch.full((len(x),), 500.0, device=device), None)
        else:
            state.prepare(data)
            run = partial(state.advance, data)
        for _ in range(WARMUPS + 1):
            run()
    finally:
        Policy.replays, Policy.compiles = before
    notes = {heading: lambda _, text=text: text for heading, text in _by_kind(run, device).items()}
    return Work({OURS: run}, images=batch, notes=notes)


def _by_kind(step: Run, device: torch.device) -> dict[str, str]:
    """Milliseconds of a step at work, how many kernels that is, and the milliseconds of each kind of kernel."""
    cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as seen:
        for _ in range(STEPS):
            step()
        if cuda:
            torch.cuda.synchronize(device)
    taken, count = dict.fromkeys(KINDS, 0.0), 0
    for event in seen.key_averages():
        if (event.device_type.name == "CUDA") == cuda:
            kind = next(kind for kind, pattern in KINDS.items() if re.search(pattern, event.key.lower()))
            taken[kind] += (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e3 / STEPS
            count += event.count
    found = {"at work, ms a step": sum(taken.values()), **taken}
    return {"kernels": str(count // STEPS), **{heading: f"{value:.3g}" for heading, value in found.items()}}
