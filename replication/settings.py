"""The base of every typed setting that a TOML may hold: frozen, strict, and no unknown keys."""

import hashlib
import json
import math
import unicodedata
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)

from replication.registry import Registry
from replication.types import SEEDS

T = TypeVar("T")


class Settings(BaseModel):
    """Immutable; validation errors carry the key's location, and the harness turns them into one InputError."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def with_fields(self, **changes: Any) -> Self:
        """A copy with fields changed, validated anew and without the keys that the original has cached."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self).model_validate({**fields, **changes})


class Shared(Settings):
    """Settings that many rows have in common. Of equal tables that are typed with one `context` (a dict, at first empty), one
    object is made: what is found out about it is then known for every row that has it.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _once(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if not isinstance(info.context, dict) or not isinstance(value, dict | str):
            return handler(value)
        known, table = info.context, (cls, repr(value))
        if table not in known:
            known[table] = handler(value)
        return known[table]


TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # characters that turn the direction of what follows


def _one_line(text: str) -> str:
    if (
        not text
        or text != text.strip()
        or any(unicodedata.category(c) in ("Cc", "Zl", "Zp") or c in TURNING for c in text)
    ):
        raise ValueError("must be one line of text, without control characters, and without spaces at its ends")
    return text


Line = Annotated[str, AfterValidator(_one_line)]  # what tables print and names are made of
Seed = Annotated[int, Field(ge=0, lt=SEEDS)]  # of images


class Spelled:
    """A JSON value by its canonical JSON, as the value or an entry of a key's content: what many keys share is spelled once."""

    def __init__(self, content: Any):
        self.text = canonical_json(content)


def canonical_json(content: Any) -> str:
    """The one spelling of a JSON value that keys are made from: sorted keys, no spaces."""
    if isinstance(content, Spelled):
        return content.text
    if isinstance(content, dict) and any(isinstance(value, Spelled) for value in content.values()):
        entries = (f"{_spelling(key)}:{canonical_json(value)}" for key, value in sorted(content.items()))
        return f"{{{','.join(entries)}}}"
    return _spelling(content) if isinstance(content, str | int | None) else _CANONICAL.encode(content)


@lru_cache(typed=True)  # 1 and True are equal, and are spelled differently
def _spelling(content: str | int | None) -> str:
    """Of an entry: the keys of a sweep have few others."""
    return _CANONICAL.encode(content)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def content_key(content: Any) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


class Part(Shared):
    """One registered part and its options; in a TOML "uniform", or { name = "ddim", eta = 0.5 }."""

    name: str
    options: dict[str, Any] = {}

    @field_validator("options")
    @classmethod
    def _fit_for_keys(cls, options: dict[str, Any]) -> dict[str, Any]:
        """TOML has more than JSON, of which keys are made: dates, and numbers that are none."""
        for name, value in options.items():
            endless = isinstance(value, float) and math.isinf(value)  # an interval may well end there
            if not (endless or _in_json(value)):
                raise ValueError(f"option {name!r} is no number, text, list or table, but {value!r}")
        return options

    @model_validator(mode="before")
    @classmethod
    def _from_toml(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "options" not in value:
            return {"name": value.get("name"), "options": {k: v for k, v in value.items() if k != "name"}}
        return value

    def completed(self, registry: Registry, facts: Mapping[str, Any]) -> "Part":
        """This part with each of the facts that it has an option for and that neither it nor a default states."""
        known = {**registry.defaults(self.name), **self.options}
        options = {key: fact for key, fact in facts.items() if key in known and known[key] != fact}
        return self.with_fields(options={**options, **self.options})

    def build(self, registry: Registry) -> Any:
        """The part itself; raises InputError as the registry does."""
        return registry.made(self.name, self._checked(registry))

    def built(self, registry: Registry) -> Any:
        """The same one for all who ask this setting: for parts that nobody changes."""
        return self._found("built", registry, lambda: self.build(registry))

    def identity(self, registry: Registry) -> dict[str, Any]:
        """What enters a key, defaults included; a part that changes its behaviour raises its `version`."""
        return registry.identity_of(self.name, self._checked(registry))

    def spelled(self, registry: Registry) -> Spelled:
        """The identity, for the keys that it is a part of."""
        return self._found("spelled", registry, lambda: Spelled(self.identity(registry)))

    def _checked(self, registry: Registry) -> dict[str, Any]:
        """All options; raises InputError."""
        return self._found("options", registry, lambda: registry.options(self.name, self.options))

    def _found(self, what: str, registry: Registry, find: Callable[[], T]) -> T:
        """Something of the part, found once for all who ask this object."""
        if (what, registry.name) not in self._known:
            self._known[what, registry.name] = find()
        return self._known[what, registry.name]

    @cached_property
    def _known(self) -> dict[tuple[str, str], Any]:
        return {}

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, repr(self.options)))

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        options = ", ".join(f"{k}={v}" for k, v in sorted(self.options.items()))
        return f"{self.name}({options})" if options else self.name


def _in_json(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _in_json(entry) for key, entry in value.items())
    if isinstance(value, list | tuple):
        return all(map(_in_json, value))
    return math.isfinite(value) if isinstance(value, float) else value is None or isinstance(value, str | int)


def printed(value: object) -> str:
    """A value as text, true and false as a TOML has them."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A TOML's table with changes written over it, table by table; a part of another name replaces the whole part.

    A part that `base` gives by name alone, "uniform", takes options as { name = "uniform" } does.
    """
    result = dict(base)
    for key, value in changes.items():
        part: Any = {"name": result[key]} if isinstance(result.get(key), str) else result.get(key)
        both = isinstance(value, Mapping) and isinstance(part, Mapping)
        if both and value.get("name", part.get("name")) == part.get("name"):
            result[key] = merged(part, value)
        else:
            result[key] = value
    return result
