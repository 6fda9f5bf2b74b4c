"""Where the time of a step goes: the device's kernels by kind, their number, and how long it is at work at all."""

import copy
import re
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from replication.acceleration import Policy, accelerated
from replication.bench.networks import SIZES, training_state
from replication.metrics.timing import Stopwatch
from replication.numerics import Precision, numerics
from replication.replay import WARMUPS
from replication.report.tables import markdown

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


def bench_breakdown(device: torch.device) -> str:
    """Milliseconds of evaluations and of training steps; on CUDA as they are, replayed, and compiled too."""
    size, lines, before = SIZES[device.type], [], (Policy.replays, Policy.compiles)
    for how in ("eager", "replayed", "compiled") if device.type == "cuda" else ("eager",):
        Policy.replays, Policy.compiles = how != "eager", how == "compiled"
        for name, batch in size.training.items():
            state, data = training_state(name, batch, size, device)
            state.prepare(data)
            x, _, _ = state.batch(data)
            network = accelerated(copy.deepcopy(state.network).requires_grad_(False), device)
            what = f"{name}, batch {batch}, {size.precision}, {how}"
            lines.append([f"evaluation, {what}", *_line(partial(_evaluate, network, x, size.precision), device)])
            lines.append([f"training step, {what}", *_line(partial(state.advance, data), device)])
    Policy.replays, Policy.compiles = before
    return markdown(["ms of a step", "taken", "at work", "kernels", *KINDS], lines)


@torch.no_grad()
def _evaluate(network: nn.Module, x: Tensor, precision: Precision) -> None:
    with numerics(precision, x.device):
        network(x, torch.full((len(x),), 500.0, device=x.device), None)


def _line(step: Callable[[], object], device: torch.device) -> list[str]:
    for _ in range(WARMUPS + 1):
        step()
    with Stopwatch(device) as watch:  # without the profiler, which takes time itself
        for _ in range(STEPS):
            step()
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
    cells = [watch.seconds / STEPS * 1e3, sum(taken.values()), *taken.values()]
    printed = [f"{cell:.3g}" for cell in cells]
    return [*printed[:2], str(count // STEPS), *printed[2:]]
