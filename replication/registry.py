"""Name -> factory. Parts are found by reading source and imported when they are asked for: a new file is enough to add one.

A name is looked for in the folders that its registry names, and in the modules that other packages offer as entry points
of the group `replication.parts`. `"package.module:attribute"` is a part of any package, installed or in the current
folder. Either way its module is imported: name only what you would run.
"""

import ast
import difflib
import importlib
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache, cached_property
from importlib.metadata import EntryPoints, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from replication.types import InputError, one_line

ROOT = Path(__file__).parent
ENTRY_POINTS = "replication.parts"


def unknown(kind: str, name: object, valid: list[str]) -> InputError:
    """The error for a name that does not exist: the nearest valid one, and all of them."""
    near = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {kind} {name!r}{hint} (valid: {listed(valid)})")


def one_of(kind: str, name: str, valid: Collection[str]) -> str:
    """The name itself if it is valid; raises InputError with the nearest one otherwise."""
    if name not in valid:
        raise unknown(kind, name, list(valid))
    return name


def listed(names: Iterable[object]) -> str:
    """Names in one line, quoted where they hold a comma, a blank end or what does not print, and would read as others."""
    return ", ".join(
        name if name.isprintable() and "," not in name and name == name.strip() else repr(name)
        for name in map(str, names)
    )


_adapter = cache(TypeAdapter)  # slow to make, like a signature, and a sweep asks for the same few once per cell


@cache  # packages are looked for in every folder of the path, and each registry asks
def _offers(_path: tuple[str, ...]) -> EntryPoints:
    return entry_points(group=ENTRY_POINTS)


@cache
def _signature(factory: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(factory, eval_str=True)
    except NameError:  # names that exist for a type checker alone: such options are passed on unchecked
        return inspect.signature(factory)


class Found(NamedTuple):
    """Where a name is registered, and the first line of the part's docstring; read from the source text."""

    module: str
    summary: str


class Registry:
    """Parts of one kind. `name` is the constant below, which the parts' modules decorate with: `@SAMPLERS.register("ddim")`.

    `folders` are patterns below replication/; `"*"` is every folder there, so that a paper's needs no entry anywhere.
    `build(name, **options)` raises InputError for an unknown name or for options that the factory does not take.
    """

    def __init__(self, name: str, kind: str, *folders: str):
        self.name, self.kind, self.folders = name, kind, folders
        self.unreadable: list[str] = []  # modules of other packages that could not be searched, each with the reason
        self._factories: dict[str, Callable[..., Any]] = {}
        self._canonical: dict[str, str] = {}

    def register(self, *names: str, summary: str = "") -> Callable[[Any], Any]:
        """Decorator: the class or function below is built under the first name; further names are aliases.

        Names are literals, so that they are found without an import. `summary`: for a factory without a docstring.
        """

        def add(factory: Callable[..., Any]) -> Callable[..., Any]:
            if summary:
                factory.__doc__ = summary
            for name in names:
                if name in self._factories:
                    both = f"in {self._factories[name].__module__} and in {factory.__module__}"
                    raise ValueError(f"{self.kind} {name!r} is registered twice, {both}")
                self._factories[name], self._canonical[name] = factory, names[0]
            return factory

        return add

    def names(self) -> list[str]:
        """Every name, sorted; of this package and of the entry points."""
        return sorted(self._found.keys() | self._factories)

    def summary(self, name: str) -> str:
        """The line that explains the part: the first of its docstring."""
        found = self._found.get(name)
        return found[0].summary if found else (self.get(name).__doc__ or "").strip().partition("\n")[0]

    def get(self, name: str) -> Callable[..., Any]:
        """The factory itself; raises InputError for what is unknown or cannot be imported."""
        if ":" in name:
            return self._attribute(name)
        registered = self._found.get(name, [])
        if len(registered) == 1 and name in self._factories and registered[0].module in sys.modules:
            return self._factories[name]  # a sweep asks ten thousand times
        modules = {found.module for found in registered}
        if len(modules) > 1:
            raise InputError(f"{self.kind} {name!r} is registered twice, in {' and in '.join(sorted(modules))}")
        for module in modules:
            _imported(module, f"{self.kind} {name!r}")
        if name not in self._factories:
            error = unknown(self.kind, name, self.names())
            raise InputError("; ".join([str(error), *self.unreadable]))
        return self._factories[name]

    def build(self, name: str, **options: Any) -> Any:
        """Build the part; raises InputError for an unknown name, an unknown or missing option, or a bad value."""
        return self.made(name, self.options(name, options))

    def made(self, name: str, options: Mapping[str, Any]) -> Any:
        """The part of `options` that were checked; raises InputError for a value that it does not take."""
        try:
            return self.get(name)(**options)
        except (ValueError, ArithmeticError, RuntimeError) as error:  # a library's own, torch's for one
            raise InputError(f"{self.kind} {name!r}: {_in_one_line(error)}") from error

    def defaults(self, name: str) -> dict[str, Any]:
        """Every option of the part with its default, inspect.Parameter.empty where it has none."""
        return {option: found.default for option, found in _signature(self.get(name)).parameters.items()}

    def built(self) -> Iterator[tuple[str, Any]]:
        """Every part with its name, built from its defaults; `unreadable` has those of other packages that do not build."""
        for name in self.names():
            try:
                yield name, self.build(name)
            except InputError as error:
                self.unreadable.append(str(error))

    def identity(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """What fixes the part's behaviour, for keys: its first name, every option with its value, and its version."""
        return self.identity_of(name, self.options(name, options))

    def identity_of(self, name: str, known: Mapping[str, Any]) -> dict[str, Any]:
        """The same by all of its options, which were checked."""
        factory = self.get(name)
        made = factory if hasattr(factory, "version") else _signature(factory).return_annotation
        version = getattr(made, "version", 1)
        if identified := getattr(factory, "identified", None):  # a part that is made from files, not from their path
            known = identified(known)
        # JSON has no infinity, and an interval may well end there
        known = {k: repr(v) if v in (math.inf, -math.inf) else v for k, v in known.items()}
        return {"name": self._canonical.get(name, name), "options": known, "version": version}

    @cached_property
    def _found(self) -> dict[str, list[Found]]:
        """Every registration by name, in the source of this package and of what other packages offer."""
        paths = sorted(path for folder in self.folders for path in ROOT.glob(f"{folder}/*.py"))
        own = ((".".join(("replication", *path.relative_to(ROOT).with_suffix("").parts)), path) for path in paths)
        result: dict[str, list[Found]] = {}
        for module, path in (*own, *self._offered()):
            if path.stem.isidentifier():  # what editors and systems leave beside it, .#ddim.py and ._ddim.py, is none
                for name, found in self._read(module.removesuffix(".__init__"), path):
                    result.setdefault(name, []).append(found)
        return result

    def _read(self, module: str, path: Path) -> Iterator[tuple[str, Found]]:
        source = path.read_text(encoding="utf-8")
        if f"{self.name}.register(" not in source:
            return
        try:
            for statement in ast.parse(source).body:
                if isinstance(statement, ast.ClassDef | ast.FunctionDef):
                    nodes: Iterable[ast.AST] = statement.decorator_list
                    described = ast.get_docstring(statement) or ""
                else:
                    nodes, described = ast.walk(statement), ""
                for call in nodes:
                    if isinstance(call, ast.Call) and self._registers(call.func):
                        stated = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
                        summary = stated.get("summary") or described.partition("\n")[0]
                        yield from ((ast.literal_eval(name), Found(module, summary)) for name in call.args)
        except (SyntaxError, ValueError) as error:
            self.unreadable.append(f"{module} was not searched: {error}")

    def _registers(self, function: ast.expr) -> bool:
        """Whether it is NAME.register, or that of a module."""
        return (
            isinstance(function, ast.Attribute)
            and function.attr == "register"
            and f".{ast.unparse(function.value)}".endswith(f".{self.name}")
        )

    def _offered(self) -> Iterator[tuple[str, Path]]:
        """The modules of other packages: what an entry point names, and if that is a package all modules in it."""
        for point in _offers(tuple(sys.path)):
            try:
                spec = find_spec(point.module)
                if spec is None:
                    raise ModuleNotFoundError(f"No module named {point.module!r}")
            except Exception as error:
                self.unreadable.append(f"{point.module} was not searched: {type(error).__name__}: {error}")
                continue
            if spec.origin and spec.submodule_search_locations is None:
                yield point.module, Path(spec.origin)
            for folder in spec.submodule_search_locations or []:
                yield from ((f"{point.module}.{path.stem}", path) for path in sorted(Path(folder).glob("*.py")))

    def _attribute(self, name: str) -> Callable[..., Any]:
        """The class or function that `package.module:attribute` names."""
        module, _, attribute = name.partition(":")
        if "" not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))  # where an installed script looks last, `python -m` first
        found = _imported(module, f"{self.kind} {name!r}")
        factory = getattr(found, attribute, None)
        if not callable(factory):
            raise unknown(f"{self.kind} in {module}", attribute, [k for k, v in vars(found).items() if callable(v)])
        return factory

    def options(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options of the part, defaults filled in, each of the type that its factory declares; raises InputError."""
        signature, part = _signature(self.get(name)), f"{self.kind} {name!r}"
        options = {option: _scalar(value) for option, value in options.items()}
        for option, value in options.items():
            if option not in signature.parameters:
                raise InputError(f"{part}: {unknown('option', option, sorted(signature.parameters))}")
            declared = signature.parameters[option].annotation
            unchecked = declared is inspect.Parameter.empty or isinstance(declared, str)
            try:
                _adapter(Any if unchecked else declared).validate_python(value, strict=True)
            except ValidationError as error:
                reason = error.errors()[0]["msg"].lower()
                raise InputError(f"{part}: option {option!r}: {reason}, not {value!r}") from error
        try:
            bound = signature.bind(**options)
        except TypeError as error:
            raise InputError(f"{part}: {error}") from error
        bound.apply_defaults()
        return bound.arguments


def _scalar(value: Any) -> Any:
    """The number itself where numpy or torch has it in an array without dimensions: np.int64(20), np.float32(0.5)."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def _in_one_line(error: Exception) -> str:
    """What the error says, of pydantic's list the first."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"
    return one_line(error)


def _imported(module: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.endswith(".py")]
        own = [f for f in frames if f.filename not in (__file__, importlib.__file__)]
        place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
        raise InputError(f"{what}: {module} cannot be imported: {type(error).__name__}: {error}{place}") from error


SCHEDULES = Registry("SCHEDULES", "schedule", "diffusion/schedules")
SPACINGS = Registry("SPACINGS", "spacing", "diffusion/spacings")
SAMPLERS = Registry("SAMPLERS", "sampler", "diffusion/samplers")
OBJECTIVES = Registry("OBJECTIVES", "objective", "diffusion/objectives")
MODELS = Registry("MODELS", "model", "*")
AUTOENCODERS = Registry("AUTOENCODERS", "autoencoder", "*")
PERCEPTUAL = Registry("PERCEPTUAL", "perceptual distance", "*/losses")
DISCRIMINATORS = Registry("DISCRIMINATORS", "discriminator", "*/losses")
CLASSIFIERS = Registry("CLASSIFIERS", "classifier", "*")
DATASETS = Registry("DATASETS", "dataset", "datasets")
CONDITIONS = Registry("CONDITIONS", "condition", "conditions")
EXTRACTORS = Registry("EXTRACTORS", "extractor", "metrics/extractors")
METRICS = Registry("METRICS", "metric", "metrics")
QUANTITIES = Registry("QUANTITIES", "quantity", "quantities")
CLAIMS = Registry("CLAIMS", "kind of claim", "report/claims")
JOBS = Registry("JOBS", "kind of job", "harness/jobs")
REGISTRIES = {parts.name.lower(): parts for parts in tuple(globals().values()) if isinstance(parts, Registry)}
