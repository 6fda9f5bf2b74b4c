"""What operations answer on the meta device, each kind of call asked of PyTorch once in a process.

PyTorch has rules for shapes in Python: a group norm of nothing takes milliseconds there. The first of them loads its compiler
as well, which takes a second, to say that it need not be compiled: here a stand-in takes note of that.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

COMPILER = "torch._dynamo"
_IN_PLACE = object()  # the answer is the first argument
_known: dict[tuple[Any, ...], Any] = {}


class _Unknowable(Exception):
    """More than shapes decides on the answer, or it is no new tensor."""


class _NotLoaded(ModuleType):
    """The compiler while no more is asked of it than to leave functions alone; it is loaded for anything else."""

    @staticmethod
    def disable(function: Callable[..., Any], *_: object, **__: object) -> Callable[..., Any]:
        return function

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(COMPILER) is self:
            del sys.modules[COMPILER]
        return getattr(import_module(COMPILER), name)


class Shapes(TorchDispatchMode):
    """`with Shapes(): run()`: a run on the meta device comes to the same in less time; other devices are left alone."""

    def __enter__(self) -> "Shapes":
        self._stand_in = _NotLoaded(COMPILER)
        sys.modules.setdefault(COMPILER, self._stand_in)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        if sys.modules.get(COMPILER) is self._stand_in:
            del sys.modules[COMPILER]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else entering it imports the compiler too

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        try:
            if func.is_view:
                raise _Unknowable
            call = (func, _described(args), _described(tuple(given.items())))
            found = _known.get(call)
        except (_Unknowable, TypeError):  # TypeError: what has no hash
            return func(*args, **given)
        if found is not None:
            return args[0] if found is _IN_PLACE else _made(found)
        answer = func(*args, **given)
        if func._schema.is_mutable:
            if args and answer is args[0] and args[0].is_meta:
                _known[call] = _IN_PLACE
            return answer
        memory = {x.untyped_storage()._cdata for x in (*args, *given.values()) if isinstance(x, Tensor)}
        with suppress(_Unknowable):
            _known[call] = _form(answer, memory)
        return answer


def _described(x: Any) -> Any:
    """All that an answer's shape can hang on, to be looked up by."""
    if isinstance(x, Tensor):
        if x.is_meta:
            return x.shape, x.stride(), x.dtype
        if x.ndim:
            raise _Unknowable
        return x.device, x.dtype  # a number to what is on the meta device
    return tuple(map(_described, x)) if isinstance(x, tuple | list) else (type(x), x)


def _form(answer: Any, memory: set[int]) -> Any:
    """What is kept of an answer. Raises _Unknowable where it is not new, or not on the meta device."""
    if isinstance(answer, tuple | list):
        return type(answer), [_form(x, memory) for x in answer]
    if not isinstance(answer, Tensor) or not answer.is_meta or answer.untyped_storage()._cdata in memory:
        raise _Unknowable
    return answer.shape, answer.stride(), answer.dtype


def _made(form: Any) -> Any:
    if len(form) == 2:
        return form[0](map(_made, form[1]))
    return torch.empty_strided(form[0], form[1], dtype=form[2], device="meta")
