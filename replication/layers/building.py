"""Networks that are built to be given weights: nothing is drawn or kept that a file is to fill."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode


class Uninitialised(TorchFunctionMode):
    """Without nn.init: it has nothing to fill on the meta device, where a normal draw imports torch's compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def without_parameters() -> Iterator[None]:
    """What is built in it has parameters without memory, on the meta device; its buffers are computed as ever."""

    def without_memory(_: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        return None if parameter is None else nn.Parameter(parameter.to("meta"), parameter.requires_grad)

    hook = register_module_parameter_registration_hook(without_memory)  # type: ignore[arg-type]  # it may return one
    try:
        with Uninitialised():
            yield
    finally:
        hook.remove()
