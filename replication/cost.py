"""What a network costs: multiply-adds, parameters, activation memory, counted in one forward pass of one image.

    multiply-adds   of matrix products, convolutions and attention; norms, activations and sums are not counted, nor are
                    biases. What papers call Gflops are these (in DiT and ADM); a flop counter's number is twice that
    parameters      what is trained
    activations     bytes of the outputs of all leaf modules that compute something (Identity and Dropout do not), in
                    their own dtype; functions between modules, attention's product among them, add nothing. It grows
                    with what training must keep, and is not a measurement of a device

A backward pass costs two forward ones, so a training step costs three per image.

`counted` counts what a run of any tensors does, for an estimate of its time (metrics/machine.py) and of its memory.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from replication.shapes import Shapes

FORWARDS_PER_STEP = 3
_SILENT = (nn.Identity, nn.Dropout)


@dataclass(frozen=True)
class Cost:
    """Of one image and one forward pass."""

    multiply_adds: int = 0
    parameters: int = 0
    activation_bytes: int = 0

    def training(self, steps: int, batch_size: int) -> int:
        """Multiply-adds of a training run."""
        return FORWARDS_PER_STEP * steps * batch_size * self.multiply_adds

    def image(self, nfe: int) -> int:
        """Multiply-adds of a generated image; nfe counts guidance's second evaluation."""
        return nfe * self.multiply_adds


@dataclass(frozen=True)
class Work:
    """What a run does: multiply-adds as above; what else it reads and writes, bytes; how many operations it calls."""

    multiply_adds: float = 0
    bytes: float = 0
    calls: float = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.multiply_adds + other.multiply_adds, self.bytes + other.bytes, self.calls + other.calls)

    def __mul__(self, times: float) -> "Work":
        return Work(self.multiply_adds * times, self.bytes * times, self.calls * times)


class Counter(TorchDispatchMode):
    """`with Counter() as counter: run()`; then `work`, `peak` (most bytes that were alive at a time) and `alive`, at its end.

    Operations with multiply-adds count as these, all others by the bytes of what they take and give; a view costs nothing.
    On the meta device the run takes no memory and little time.
    """

    def __init__(self) -> None:
        from torch.utils.flop_counter import flop_registry  # it loads Triton: a tenth of a second at every start

        super().__init__()
        self._formulas = flop_registry
        self.work, self.peak, self.alive = Work(), 0, 0
        self._known: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else entering it imports PyTorch's compiler, which takes a second

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given, answer = kwargs or {}, func(*args, **(kwargs or {}))
        if func.is_view:
            return answer
        formula = self._formulas.get(func._overloadpacket)
        tensors = [x for x in tree_leaves((args, given, answer)) if isinstance(x, Tensor)]
        if formula:
            done = Work(formula(*args, **given, out_val=answer) // 2, calls=1)
        else:
            done = Work(bytes=sum(x.numel() * x.element_size() for x in tensors), calls=1)
        self.work += done
        for made in (x for x in tree_leaves(answer) if isinstance(x, Tensor)):
            self._keep(made.untyped_storage())
        return answer

    def _keep(self, storage: torch.UntypedStorage) -> None:
        """Count a piece of memory until it is given back."""
        if (name := storage._cdata) not in self._known:
            self._known.add(name)
            self.alive += storage.nbytes()
            self.peak = max(self.peak, self.alive)
            weakref.finalize(storage, self._free, name, storage.nbytes())

    def _free(self, name: int, size: int) -> None:
        self._known.discard(name)
        self.alive -= size


def counted(run: Callable[[], object]) -> Counter:
    """The counter of one run."""
    with Shapes(), Counter() as counter:
        run()
    return counter


def measured(network: nn.Module, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Cost:
    """Counted in a forward pass of one image x [1,C,H,W]; on the meta device it takes no memory.

    Raises ValueError for a batch of another size.
    """
    if len(x) != 1:
        raise ValueError(f"a cost is that of one image, not of {len(x)}")
    seen = 0

    def count(module: nn.Module, args: Any, output: Tensor) -> None:
        nonlocal seen
        seen += output.numel() * output.element_size()

    leaves = [m for m in network.modules() if not [*m.children()] and not isinstance(m, _SILENT)]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    try:
        with torch.no_grad():
            work = counted(lambda: network(x, timestep, cond)).work
    finally:
        for hook in hooks:
            hook.remove()
    return Cost(int(work.multiply_adds), sum(p.numel() for p in network.parameters() if p.requires_grad), seen)
