"""CUDA graphs: the kernels of a function are recorded once and replayed, all by a single launch.

A small network's kernels take less time than their launches; replayed, a step takes what the device takes. What is recorded
may neither wait for the device nor choose by a tensor's content, which no step of sampling or training here does.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only

from replication.types import InputError

WARMUPS = 3  # calls before a recording: cuDNN looks for its fastest kernels, an optimiser makes its moments


class Recording(NamedTuple):
    """`graph` reads its arguments from `given` and leaves its answer in `answer`."""

    graph: torch.cuda.CUDAGraph
    given: tuple[Any, ...]
    answer: Any

    def __call__(self, arguments: tuple[Any, ...]) -> Any:
        for kept, argument in zip(self.given, arguments, strict=True):
            if isinstance(kept, Tensor):
                kept.copy_(argument)
        self.graph.replay()
        return tree_map_only(Tensor, torch.clone, self.answer)


class Replayed:
    """A function of tensors on CUDA, recorded for each kind of arguments that it meets; what is no tensor is a constant.

    With `effects` a call changes something besides its answer, as a training step does: its first WARMUPS calls run as they
    are. Without, that many are made before the first answer. Draws from torch's own generator are those of plain calls.
    Runs the function as it is, after one warning, where it cannot be recorded.
    """

    def __init__(self, function: Callable[..., Any], effects: bool = False):
        self.function, self.effects, self.fails = function, effects, False
        self._calls: Counter[tuple[Any, ...]] = Counter()
        self._recorded: dict[tuple[Any, ...], Recording] = {}
        self._pool: Any = None  # of memory, for all recordings: what one leaves there is copied at once

    def __call__(self, *arguments: Any) -> Any:
        kind = _kind(arguments)
        if not self.fails and kind not in self._recorded:
            if self.effects:
                self._calls[kind] += 1
                if self._calls[kind] <= WARMUPS:
                    return _aside(self.function, arguments)
            else:
                for _ in range(WARMUPS):
                    _aside(self.function, arguments)
            self._record(kind, arguments)
        return self.function(*arguments) if self.fails else self._recorded[kind](arguments)

    def _record(self, kind: tuple[Any, ...], arguments: tuple[Any, ...]) -> None:
        """Nothing is computed by it, so that a training step is not done twice."""
        given, graph = tree_map_only(Tensor, torch.clone, arguments), torch.cuda.CUDAGraph()
        try:
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            with torch.cuda.graph(graph, pool=self._pool):
                answer = self.function(*given)
        except (InputError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # of what is recorded: anything
            self.fails = True
            name = getattr(self.function, "__qualname__", type(self.function).__name__)
            what = f"({type(error).__name__}: {str(error).strip().splitlines()[0]})"
            warnings.warn(f"{name} cannot be recorded {what}; it runs without", RuntimeWarning, stacklevel=4)
        else:
            self._recorded[kind] = Recording(graph, given, answer)


def _aside(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """The function's answer, computed in a stream of its own: recordings are made in one too, and gradients keep to theirs."""
    stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        answer = function(*arguments)
    current.wait_stream(stream)
    for tensor in tree_flatten(answer)[0]:
        if isinstance(tensor, Tensor):
            tensor.record_stream(current)
    return answer


def _kind(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a recording is for: shapes, dtypes, constants, and the arithmetic that is asked for around it."""
    cuda = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    autocast = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None
    each = [(a.shape, a.dtype) if isinstance(a, Tensor) else a for a in arguments]
    return (torch.is_grad_enabled(), autocast, *cuda, *each)
