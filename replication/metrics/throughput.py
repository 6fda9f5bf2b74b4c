"""What this machine does in a second, measured in a fraction of one: products, memory traffic, calls of operations.

Together with what a run does (cost.py) it says how long that takes: multiply-adds at the rate of a matrix product,
everything else at the rate of SiLU on as many bytes, plus what it takes to call an operation at all. Networks on the CPU
come to within a third of it; what has been timed here already is a better guide, and corrects it (harness/expected.py).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch.nn import functional as F

from replication.cost import Work
from replication.metrics.timing import repeated
from replication.numerics import Precision, numerics

SIDES = {"cpu": 1024, "cuda": 8192}  # of the matrix product
BYTES = {"cpu": 2**24, "cuda": 2**28}  # that SiLU reads, and writes
CALLS = 300
REPEATS = 3  # of which the fastest counts: other work on the machine only ever slows one down


@dataclass(frozen=True)
class Throughput:
    """In a second, of one device in one precision."""

    multiply_adds: float
    bytes: float
    calls: float

    def seconds(self, work: Work) -> float:
        """How long it takes."""
        return work.multiply_adds / self.multiply_adds + work.bytes / self.bytes + work.calls / self.calls


@cache
def throughput(device: torch.device, precision: Precision) -> Throughput:
    """That of this machine, with the threads that PyTorch has now."""
    side, size = SIDES[device.type], BYTES[device.type]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, x, one = (
        torch.ones(side, side, device=device, dtype=dtype),
        torch.ones(size // 4, device=device),
        torch.ones(1, device=device),
    )
    with torch.no_grad(), numerics(precision, device):
        product = _fastest(lambda: a @ a, device)
        traffic = _fastest(lambda: F.silu(x), device)
        called = _fastest(lambda: [one + one for _ in range(CALLS)], device)
    return Throughput(side**3 / product, 2 * size / traffic, CALLS / called)


def _fastest(work: Callable[[], object], device: torch.device) -> float:
    """Seconds; on the CPU those that this thread has had of a processor, so that other work on the machine counts little."""
    if device.type == "cuda":
        return min(repeated(work, device, REPEATS))
    seconds = []
    for _ in range(REPEATS + 1):
        started = time.thread_time()
        work()
        seconds.append(time.thread_time() - started)
    return min(seconds)
