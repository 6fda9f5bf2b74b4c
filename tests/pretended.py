"""A CUDA device that is not there: tensors that are computed on the CPU, say that they are on CUDA, and refuse to be mixed.

`with Pretended() as device:` makes what is created on, or moved to, a CUDA device such a tensor. An operation on both a
device's tensor and a CPU's raises, apart from numbers (no axes) in the arithmetic whose CUDA kernels take them. What makes
the host wait for a real device is counted by name in `device.waits`: reading a number, a copy to the CPU, a copy of pageable
memory to the device, and operations whose shape hangs on values.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from replication.acceleration import Policy

CUDA = torch.device("cuda", 0)
STAND_IN = torch.device("meta")  # what the wrappers lie on for PyTorch's own code
aten = torch.ops.aten
# the pointwise kernels that take a number from the CPU beside tensors of the device
TAKE_NUMBERS = {
    "add", "add_", "sub", "sub_", "rsub", "mul", "mul_", "div", "div_", "pow", "where", "maximum", "minimum", "fmod", "atan2",
    "lt", "le", "gt", "ge", "eq", "ne", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_xor_", "bitwise_and_", "logical_and",
    "copy_", "_to_copy", "fill_",
}  # fmt: skip
TAKE_TENSORS = {
    "copy_",
    "index",
    "index_put",
    "index_put_",
    "_index_put_impl_",
}  # from the CPU too, for which they wait
SHAPED_BY_VALUES = {"nonzero", "masked_select", "unique", "_unique2", "unique_consecutive", "bincount"}


class OnCuda(Tensor):
    """Wraps a CPU tensor. For PyTorch's own code it lies on the meta device, for whoever asks on CUDA."""

    of: Tensor
    waits: Counter[str] = Counter()
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, of: Tensor) -> "OnCuda":
        wrapper = Tensor._make_wrapper_subclass(
            cls, of.shape, of.stride(), of.storage_offset(), dtype=of.dtype, device=STAND_IN, requires_grad=False
        )
        wrapper.of = of
        return wrapper

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    def __repr__(self, *_: Any, **__: Any) -> str:
        return f"OnCuda({list(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.overloadpacket.__name__, dict(kwargs or {})
        tensors = [a for a in (*_leaves(args), *_leaves(kwargs.values())) if isinstance(a, Tensor)]
        on_cpu = [t for t in tensors if not isinstance(t, OnCuda)]
        refused = [t for t in on_cpu if t.ndim > 0 or name not in TAKE_NUMBERS]
        if refused and name not in TAKE_TENSORS:
            raise RuntimeError(f"{func}: tensors on {sorted({str(t.device) for t in tensors})}")
        to_cpu = kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cpu"
        if to_cpu or name in ("_local_scalar_dense", "equal", *SHAPED_BY_VALUES) or (name in TAKE_TENSORS and on_cpu):
            cls.waits[f"{name} to the CPU" if to_cpu else name] += 1
        if "device" in kwargs:
            kwargs["device"] = None if kwargs["device"] is None else "cpu"
        kwargs.pop("pin_memory", None)
        wrappers = {id(t.of): t for t in tensors if isinstance(t, OnCuda)}
        plain = tree_map(lambda a: a.of if isinstance(a, OnCuda) else a, (args, kwargs))
        answer = func(*plain[0], **plain[1])
        if to_cpu or (name == "copy_" and not isinstance(args[0], OnCuda)):
            return answer

        def wrapped(a: Any) -> Any:
            return wrappers[id(a)] if id(a) in wrappers else OnCuda(a) if isinstance(a, Tensor) else a

        return tree_map(wrapped, answer)


class _MadeWithin(TorchDispatchMode):
    """What PyTorch's own code creates beside a tensor, on what it takes for that one's device.

    meta: while the real meta device is meant.
    """

    meta = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.meta and (kwargs or {}).get("device") == STAND_IN and not any(isinstance(a, Tensor) for a in args):
            return OnCuda(func(*args, **{**kwargs, "device": "cpu"}))
        return func(*args, **(kwargs or {}))


class Pretended(TorchFunctionMode):
    """Creates and moves: whatever names a CUDA device is done on the CPU and wrapped."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self._within = _MadeWithin()

    def __enter__(self) -> Self:
        OnCuda.waits = self.waits
        self._before = Policy.compiles, Policy.replays
        Policy.compiles = Policy.replays = False  # there is nothing to compile for, nor to record
        self._within.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        Policy.compiles, Policy.replays = self._before
        super().__exit__(*error)
        self._within.__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if name == "cuda":
            name, args = "to", (args[0], CUDA)
            func = Tensor.to
        if name == "to" and not isinstance(args[0], OnCuda):
            wanted = [a for a in (*args[1:], *kwargs.values()) if _names_cuda(a)]
            if wanted or any(isinstance(a, OnCuda) for a in (*args[1:], kwargs.get("other"))):
                self.waits["copy of pageable memory to the device"] += 1
                return OnCuda(_moved(args[0], *args[1:], **kwargs)).requires_grad_(args[0].requires_grad)
            return func(*args, **kwargs)
        if name == "to" and any(_names_cuda(a) for a in (*args[1:], *kwargs.values())):  # it is there already
            named = [a for a in (*args[1:], *kwargs.values()) if isinstance(a, torch.dtype | torch.memory_format)]
            kinds = {"memory_format" if isinstance(a, torch.memory_format) else "dtype": a for a in named}
            return func(args[0], **{"dtype": args[0].dtype, **kinds})
        if name in ("__getitem__", "__setitem__") and isinstance(
            args[1], list
        ):  # made a tensor of, for the device asked
            args = (args[0], torch.tensor(args[1]), *args[2:])
        if _names_cuda(kwargs.get("device")) and not any(isinstance(a, OnCuda) for a in _leaves(args)):
            made = func(*args, **{**kwargs, "device": "cpu"})
            return OnCuda(made) if isinstance(made, Tensor) else made
        flat = [*_leaves(args), *_leaves(kwargs.values())]
        named = any(isinstance(a, torch.device | str) and str(a) == "meta" for a in flat)
        before, self._within.meta = self._within.meta, named or any(_on_meta(a) for a in flat)
        try:
            return func(*args, **kwargs)
        finally:
            self._within.meta = before


def _leaves(x: Iterable[Any]) -> Iterator[Any]:
    """What lists and tuples hold in the end, ten times faster than PyTorch's trees: every call of a function comes by."""
    for a in x:
        if isinstance(a, list | tuple):
            yield from _leaves(a)
        else:
            yield a


def _on_meta(a: Any) -> bool:
    return isinstance(a, Tensor) and not isinstance(a, OnCuda) and a.is_meta


def _names_cuda(a: Any) -> bool:
    return (isinstance(a, torch.device) and a.type == "cuda") or (isinstance(a, str) and a.startswith("cuda"))


def _moved(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A copy with what else `to` was asked for: a dtype."""
    others = [a.dtype if isinstance(a, OnCuda) else a for a in (*args, *kwargs.values())]
    dtype = next((a for a in others if isinstance(a, torch.dtype)), x.dtype)
    return x.detach().to(dtype, copy=True)
