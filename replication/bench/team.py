"""Processes of one thread that work together, as harness/companions.py starts them: as many as this one has threads."""

import atexit
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import distributed

from replication.bench.turns import Run
from replication.memory import keep_freed_memory
from replication.training.processes import Processes, met

_run: Run


def pays_on(device: torch.device) -> bool:
    return device.type == "cpu" and torch.get_num_threads() > 1


def together_on(device: torch.device) -> str:
    """How a line's name ends where a team does the work."""
    return f", {torch.get_num_threads()} processes of one thread" if pays_on(device) else ""


class Team:
    """Called, each of the processes does once what `build`, which is pickled, has made there."""

    def __init__(self, build: Callable[[Processes], Run]):
        self.count, context = torch.get_num_threads(), get_context("spawn")
        self._folder = TemporaryDirectory()
        given = context.Value("i", 0), self.count, self._folder.name, build
        self._pool = ProcessPoolExecutor(self.count, context, _begin, given)

    def __call__(self) -> list[Any]:
        return list(self._pool.map(_do, range(self.count)))

    def close(self) -> None:
        self._pool.shutdown()
        self._folder.cleanup()


def _begin(begun: Any, count: int, folder: str, build: Callable[[Processes], Run]) -> None:
    global _run
    with begun.get_lock():
        index, begun.value = begun.value, begun.value + 1
    torch.set_num_threads(1)
    keep_freed_memory()
    meeting = ExitStack()
    atexit.register(meeting.close)
    _run = build(meeting.enter_context(met(index, count, folder)))


def _do(_: int) -> None:
    """In each once: who is done waits for the others to begin."""
    distributed.barrier()
    _run()
