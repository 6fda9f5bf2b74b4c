"""Name -> factory. Siblings are discovered: a new file in a registry's package is enough to add a part."""

import difflib
import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from replication.types import InputError


def unknown(kind: str, name: object, valid: list[str]) -> InputError:
    """The error for a name that does not exist: it says the nearest valid one and lists them all."""
    near = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {kind} {name!r}{hint} (valid: {', '.join(valid)})")


# both are slow to make, and a sweep asks for the same few once per cell
_signature = cache(inspect.signature)
_adapter = cache(TypeAdapter)


class Registry:
    """Parts of one kind, found in the modules of the given packages.

    `build(name, **options)` raises InputError for an unknown name or for options that the factory does not take.
    """

    def __init__(self, kind: str, *packages: str):
        self.kind, self.packages = kind, packages
        self._factories: dict[str, Callable[..., Any]] = {}
        self._canonical: dict[str, str] = {}
        self._discovered = False

    def register(self, *names: str) -> Callable[[Any], Any]:
        """Decorator: the class or function below is built under the first name; further names are aliases."""

        def add(factory: Callable[..., Any]) -> Callable[..., Any]:
            for name in names:
                if name in self._factories:
                    raise ValueError(f"{self.kind} {name!r} is registered twice")
                self._factories[name], self._canonical[name] = factory, names[0]
            return factory

        return add

    def _discover(self) -> None:
        if not self._discovered:
            self._discovered = True
            for package in map(importlib.import_module, self.packages):
                for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
                    importlib.import_module(module.name)

    def names(self) -> list[str]:
        """Every name, sorted."""
        self._discover()
        return sorted(self._factories)

    def get(self, name: str) -> Callable[..., Any]:
        """The factory itself; its docstring says what it builds."""
        self._discover()
        if name not in self._factories:
            raise unknown(self.kind, name, self.names())
        return self._factories[name]

    def build(self, name: str, **options: Any) -> Any:
        """Build the part; raises InputError for an unknown name, an unknown or missing option, or a bad value."""
        checked = self._options(name, options)
        try:
            return self.get(name)(**checked)
        except ValueError as error:  # a library's own words about a value, torch's about dropout = 2
            raise InputError(f"{self.kind} {name!r}: {error}") from error

    def identity(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """What fixes the part's behaviour, for keys: its first name, every option with its value, and its version."""
        factory = self.get(name)
        made = factory if isinstance(factory, type) else _signature(factory).return_annotation
        version = getattr(made, "version", 1)
        # JSON has no infinity, and an interval may well end there
        known = {k: repr(v) if v in (math.inf, -math.inf) else v for k, v in self._options(name, options).items()}
        return {"name": self._canonical[name], "options": known, "version": version}

    def _options(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options of the part, defaults filled in, each of the type that its factory declares."""
        signature = _signature(self.get(name))
        for option, value in options.items():
            if option not in signature.parameters:
                raise InputError(f"{self.kind} {name!r}: {unknown('option', option, sorted(signature.parameters))}")
            declared = signature.parameters[option].annotation
            try:
                _adapter(declared).validate_python(value, strict=True)
            except ValidationError as error:
                reason = error.errors()[0]["msg"].lower()
                raise InputError(f"{self.kind} {name!r}: option {option!r}: {reason}, not {value!r}") from error
        try:
            bound = signature.bind(**options)
        except TypeError as error:
            raise InputError(f"{self.kind} {name!r}: {error}") from error
        bound.apply_defaults()
        return bound.arguments


SCHEDULES = Registry("schedule", "replication.diffusion.schedules")
SPACINGS = Registry("spacing", "replication.diffusion.spacings")
SAMPLERS = Registry("sampler", "replication.diffusion.samplers")
OBJECTIVES = Registry("objective", "replication.diffusion.objectives")
MODELS = Registry("model", "replication.ddpm", "replication.ldm", "replication.dit")
AUTOENCODERS = Registry("autoencoder", "replication.ldm")
PERCEPTUAL = Registry("perceptual distance", "replication.ldm.losses")
DISCRIMINATORS = Registry("discriminator", "replication.ldm.losses")
DATASETS = Registry("dataset", "replication.datasets")
CONDITIONS = Registry("condition", "replication.conditions")
EXTRACTORS = Registry("extractor", "replication.metrics.extractors")
QUANTITIES = Registry("quantity", "replication.quantities")
