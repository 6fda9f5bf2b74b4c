"""`replicate` in each of the processes that torchrun starts in the tests, with a note in drawn.txt of who drew what; MLflow
is told nothing.

The first images of each wait until the other one draws too: a process that nothing else keeps busy could do everything.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from replication.cli import main
from replication.harness.store import Store
from replication.sampling.generation import Sampling, Source

RANK, PATIENCE = os.environ["RANK"], 60.0
draw = Source.x0


def noted(self: Source, sampling: Sampling, noise: Any, *others: Any) -> Tensor:
    with open("drawn.txt", "a", encoding="utf-8") as file:
        file.write(f"{RANK} {sampling.sampler} x {sampling.steps} from {int(noise.indices[0])}\n")
    until = time.monotonic() + PATIENCE
    while len({line[0] for line in Path("drawn.txt").read_text().splitlines()}) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    return draw(self, sampling, noise, *others)


if __name__ == "__main__":
    Source.x0, Store.installed = noted, False  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
