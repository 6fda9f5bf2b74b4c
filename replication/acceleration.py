"""What runs compiled: on CUDA the networks and the noise, by torch.compile; on the CPU nothing, so that rows stay bit by bit.

Compiled without CUDA graphs. A chunk's kernels take far longer than their launches; the gain is in what is between the
convolutions and matrix products, which becomes one kernel in place of several: norms, activations, casts of autocast.
What cannot be compiled, or answers otherwise once compiled, runs as it is, after one warning.
"""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from replication.types import InputError

RECOMPILED = 64  # sizes, precisions and modes of one network's code that stay compiled; PyTorch's own limit is 8
WASTE = 8  # a batch is filled up to one that is compiled already with this part of it, or with two images: chunks differ by one
APART = {torch.float64: 1e-6, torch.float32: 1e-2, torch.bfloat16: 1e-1}  # |compiled - eager| / |eager| by arithmetic


class Policy:
    """Of this process: whether networks are compiled on CUDA. Its times are all of one kind: a failure is the end of it."""

    compiles = True

    @classmethod
    def on(cls, device: torch.device) -> bool:
        return cls.compiles and device.type == "cuda"


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
            self._give_up(f"cannot be compiled ({type(error).__name__}: {str(error).strip().splitlines()[0]})")
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
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        warnings.warn(f"{name} {why}; it runs without", RuntimeWarning, stacklevel=3)


class CompiledNetwork(nn.Module):
    """`network(x [B,C,H,W], timestep [B], cond)`, compiled; the weights, and `encode`, are the network's own.

    Compiled code is for one layout in memory, so that inputs are brought to one. Without gradients a batch a little
    smaller than one that is compiled is filled up to it: chunks that differ by one image share their code. Under autocast
    a network that is not trained runs as a copy whose weights are cast already, or each would be cast at each evaluation.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self._run = network, Compiled(network.forward)
        self._sizes: set[int] = set()
        self._cast: Compiled | None = None
        if hasattr(network, "encode"):
            self.encode = network.encode

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        given, size = len(x), len(x)
        if not torch.is_grad_enabled():
            size = min((n for n in self._sizes if 0 <= n - given <= max(2, given // WASTE)), default=given)
            self._sizes.add(size)
        x, timestep = _filled(x, size), _filled(timestep, size).contiguous()
        x = torch.empty_like(x, memory_format=torch.channels_last).copy_(x)
        run = self._of_cast(x.device.type) if torch.is_autocast_enabled(x.device.type) else self._run
        answer = run(x, timestep, None if cond is None else _filled(cond, size).contiguous())
        if run.fails:
            Policy.compiles = False
        return answer[:given]

    def _of_cast(self, device: str) -> Compiled:
        if torch.is_grad_enabled() or any(p.requires_grad for p in self.network.parameters()):
            return self._run
        if self._cast is None:
            self._cast = Compiled(with_cast_weights(self.network, torch.get_autocast_dtype(device)).forward)
        return self._cast


def with_cast_weights(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy whose convolutions and linear maps have weights of autocast's dtype, which it would round them to itself."""
    cast = copy.deepcopy(network)
    for module in cast.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)
    return cast


def accelerated(network: nn.Module, device: torch.device) -> nn.Module:
    """The network, compiled where the device's are; its weights may go on changing."""
    if not Policy.on(device):
        return network
    return CompiledNetwork(network)


def _filled(x: Tensor, size: int) -> Tensor:
    """[size,*]: x and repetitions of its last row."""
    return x if len(x) == size else torch.cat([x, x[-1:].expand(size - len(x), *x.shape[1:])])


def _arithmetic(x: Tensor) -> torch.dtype:
    """What is computed in: that of autocast where it is on."""
    return torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype


def _alike(a: Tensor, b: Tensor, apart: float) -> bool:
    a, b = a.double(), b.double()
    return bool((a - b).norm() <= apart * b.norm().clamp(min=1e-30)) or bool((a == b).all())
