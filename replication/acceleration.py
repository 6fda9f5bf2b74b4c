"""What makes networks and noise fast on CUDA: torch.compile, and CUDA graphs. On the CPU nothing, so that rows stay bit by bit.

Compiled, what is between the convolutions and matrix products becomes one kernel in place of several: norms, activations,
casts of autocast. Replayed, they are recorded once and launched all together: a small network's kernels take less time than
their launches. What is recorded may neither wait for the device nor choose by a tensor's content, which no step of sampling
or training here does. What cannot be compiled or recorded, or answers otherwise once compiled, runs as it is, after one
warning.

On the CPU there is little to gain: on one thread of a Xeon with AVX512-BF16 and without AMX, compiled, an evaluation takes
0.86 times as long for 300 of the digits (0.78 for 100), 0.89 for the U-Net of 8x8 latents, 1.06 for the one of 32x32 pixels and
1.02 for a DiT, and a training step 0.92 times (digits), after 13 to 54 s of compiling in each process; on an EPYC 0.84, 0.90
and 0.92. In bfloat16, networks and bare products alike take 1.7 to 1.9 times as long as in float32 on that Xeon. What is
gained there is in layers/: linear.py, convolution.py.
"""

import copy
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only

from replication.types import InputError, one_line

WARMUPS = 3  # calls before a recording: cuDNN looks for its fastest kernels, an optimiser makes its moments
RECOMPILED = 64  # sizes, precisions and modes of one network's code that stay compiled; PyTorch's own limit is 8
WASTE = 8  # a batch is filled up to one that is compiled already with this part of it, or with two images: chunks differ by one
APART = {torch.float64: 1e-6, torch.float32: 1e-2, torch.bfloat16: 1e-1}  # |compiled - eager| / |eager| by arithmetic


class Policy:
    """Of this process: what is done on CUDA. Its times are all of one kind: a failure is the end of it."""

    compiles = replays = True

    @classmethod
    def compiles_on(cls, device: torch.device) -> bool:
        return cls.compiles and device.type == "cuda"

    @classmethod
    def replays_on(cls, device: torch.device) -> bool:
        return cls.replays and device.type == "cuda"

    @classmethod
    def name(cls, device: torch.device) -> str:
        """What is done to a network there: "compiled", "replayed" or nothing, "". What is compiled is replayed too."""
        return "compiled" if cls.compiles_on(device) else "replayed" if cls.replays_on(device) else ""


class Compiled:
    """A function of tensors, compiled for each shape that it meets, or with `dynamic` for all.

    Compiling takes seconds to minutes. Outside training each shape's first answer is checked. Falls back on the function
    itself, with a warning, where that cannot be compiled or answers otherwise once it is.
    """

    def __init__(self, function: Callable[..., Tensor], precision: torch.dtype | None = None, dynamic: bool = False):
        torch._dynamo.config.recompile_limit = RECOMPILED
        self.function, self.precision, self.fails = function, precision, False
        self._compiled = torch.compile(function, dynamic=dynamic)
        self._checked: set[tuple[Any, ...]] = set()

    def __call__(self, *arguments: Any) -> Tensor:
        if self.fails:
            return self.function(*arguments)
        try:
            answer: Tensor = self._compiled(*arguments)
        except (InputError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # of a compiler: anything
            self._give_up(f"cannot be compiled ({type(error).__name__}: {one_line(error)})")
            return self.function(*arguments)
        if not torch.is_grad_enabled() and (shapes := self._shapes(arguments)) not in self._checked:
            self._checked.add(shapes)
            expected = self.function(*arguments)
            if not _alike(answer, expected, APART[self.precision or _arithmetic(answer)]):
                self._give_up("answers otherwise when compiled")
                return expected
        return answer

    def _shapes(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (_arithmetic(arguments[0]), *(x.shape if isinstance(x, Tensor) else x for x in arguments))

    def _give_up(self, why: str) -> None:
        self.fails = True
        _warn(self.function, why)


class AcceleratedNetwork(nn.Module):
    """`network(x [B,C,H,W], timestep [B], cond)`, compiled, replayed, or both; weights and `encode` are the network's own.

    Compiled or recorded code is for one layout in memory, so that inputs are brought to one. Without gradients a batch a
    little smaller than one that is known is filled up to it: chunks that differ by one image share their code. Under autocast
    a network that is not trained runs as a copy whose weights are cast already, or each would be cast at each evaluation.
    A training replays its whole step, so that an evaluation with gradients is not replayed by itself.
    """

    def __init__(self, network: nn.Module, compiles: bool = True, replays: bool = True):
        super().__init__()
        self.network, self.compiles, self.replays = network, compiles, replays
        self._sizes: set[int] = set()
        # by whether it is trained, and the dtype that weights are cast to
        self._runs: dict[tuple[bool, torch.dtype | None], Callable[..., Any]] = {}
        self._compiled: list[Compiled] = []
        if hasattr(network, "encode"):
            self.encode = network.encode

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        given, size = len(x), len(x)
        if not torch.is_grad_enabled():
            size = min((n for n in self._sizes if 0 <= n - given <= max(2, given // WASTE)), default=given)
            self._sizes.add(size)
        x, timestep = _filled(x, size), _filled(timestep, size).contiguous()
        x = torch.empty_like(x, memory_format=torch.channels_last).copy_(x)
        run = self._run(x.device.type)
        answer: Tensor = run(x, timestep, None if cond is None else _filled(cond, size).contiguous())
        if any(compiled.fails for compiled in self._compiled):
            Policy.compiles = False
        if isinstance(run, Replayed) and run.fails:
            Policy.replays = False
        return answer[:given]

    def _run(self, device: str) -> Callable[..., Any]:
        trained = torch.is_grad_enabled() or any(p.requires_grad for p in self.network.parameters())
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) and not trained else None
        key = trained, dtype
        if key not in self._runs:
            network = self.network if dtype is None else with_cast_weights(self.network, dtype)
            run: Callable[..., Any] = network.forward
            if self.compiles:
                self._compiled.append(run := Compiled(run))
            self._runs[key] = Replayed(run) if self.replays and not trained else run
        return self._runs[key]


def with_cast_weights(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy whose convolutions and linear maps have weights of autocast's dtype, which it would round them to itself."""
    cast = copy.deepcopy(network)
    for module in cast.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)
    return cast


def accelerated(network: nn.Module, device: torch.device) -> nn.Module:
    """The network as the device runs it fastest; its weights may go on changing while they require gradients."""
    compiles, replays = Policy.compiles_on(device), Policy.replays_on(device)
    return AcceleratedNetwork(network, compiles, replays) if compiles or replays else network


def replayed(function: Callable[..., Any], device: torch.device, effects: bool = False) -> Callable[..., Any]:
    """The function, replayed where the device's are; see Replayed."""
    return Replayed(function, effects) if Policy.replays_on(device) else function


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
            _warn(self.function, f"cannot be recorded ({type(error).__name__}: {one_line(error)})")
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


def _filled(x: Tensor, size: int) -> Tensor:
    """[size,*]: x and repetitions of its last row."""
    return x if len(x) == size else torch.cat([x, x[-1:].expand(size - len(x), *x.shape[1:])])


def _arithmetic(x: Tensor) -> torch.dtype:
    """What is computed in: that of autocast where it is on."""
    return torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype


def _alike(a: Tensor, b: Tensor, apart: float) -> bool:
    a, b = a.double(), b.double()
    return bool((a - b).norm() <= apart * b.norm().clamp(min=1e-30)) or bool((a == b).all())


def _warn(function: Callable[..., Any], why: str) -> None:
    name = getattr(function, "__qualname__", type(function).__name__)
    warnings.warn(f"{name} {why}; it runs without", RuntimeWarning, stacklevel=5)
