"""A protocol: everything that fixes a metric besides the samples' own setting.

The named ones are data, one file each in experiments/protocols/. An experiment takes one by name, and what it changes in
it is kept beside the name, so that no row passes for a protocol that it does not follow.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from replication.datasets.dataset import Dataset
from replication.datasets.pictures import Preprocessing
from replication.harness.experiment_file import read_toml
from replication.harness.home import catalogue
from replication.harness.references import moments_of
from replication.metrics.metric import LEAST_IMAGES
from replication.numerics import Precision
from replication.registry import EXTRACTORS, one_of, unknown
from replication.settings import Line, Part, Seed, Shared, Spelled, printed
from replication.types import InputError

LabelPolicy = Literal["random", "uniform", "balanced"]
_DESCRIPTION = {"name", "changed", "source", "note", "unknown"}  # for readers; no figure depends on it
_STATED = {"preprocessing"}  # the dataset's own, by its fingerprint in the key already; a cell under another is refused
UNKNOWN = "unknown"


class Protocol(Shared):
    """One way to measure. `n` images for each of `seeds`: three blocks by default."""

    name: Line
    changed: dict[str, Any] = {}  # the keys that an experiment set differently from the named protocol
    source: str = ""  # where its facts come from
    note: str = ""  # what of the paper's own procedure is not copied, and why
    n: int = Field(ge=10)  # images per seed; the inception score has ten splits
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0, 1, 2]
    ema: bool = True
    quantizer: str
    reference: Literal["train", "test"]
    moments: str = ""  # a file or a name of moments, which distances are taken to instead of the reference's images
    preprocessing: Preprocessing = "none"  # how the reference's images came to the model's resolution
    drop_last: int = Field(default=0, ge=0)  # the reference's last partial batch of this size is left out; 0: none is
    extractor: Part
    labels: LabelPolicy = "balanced"  # how labels are chosen where the model is conditional
    precision: Precision = "float32"
    resamples: int = Field(default=200, ge=2, le=100_000)  # of the bootstrap
    nll_images: int = Field(default=0, ge=0)  # of the test split; 0 is all of them

    @model_validator(mode="before")
    @classmethod
    def _from_toml(cls, value: Any) -> Any:
        """From "suite", or { name = "suite", n = 500 }: a protocol of the catalogue, and what is changed in it.

        Any other name is a protocol of one's own, which states what the catalogue would.
        """
        table = {"name": value} if isinstance(value, str) else value
        if not isinstance(table, dict) or not isinstance(table.get("name"), str):
            return table
        if isinstance(table.get("extractor"), Part):  # the fields of one that was read before
            return table
        if "changed" in table:
            raise ValueError("what is changed in a named protocol is found, not stated: leave out the key 'changed'")
        named = catalogue("protocols").get(table["name"])
        changes = {key: stated for key, stated in table.items() if key not in _DESCRIPTION}
        if named is None:
            if {"n", "quantizer", "reference", "extractor"} - changes.keys():
                raise ValueError(str(unknown("protocol", table["name"], protocol_names())))
            return table
        base = read_toml(named)
        defaults = {key: field.default for key, field in cls.model_fields.items()}
        changed = {key: stated for key, stated in changes.items() if {**defaults, **base}.get(key) != stated}
        return {**base, **table, "changed": changed}

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is named twice, and its images would count twice")
        return seeds

    @property
    def title(self) -> str:
        """The name, and what is changed in it: "suite (n = 500)"."""
        return f"{self.name} ({self.changes})" if self.changes else self.name

    @property
    def changes(self) -> str:
        """What is changed, as one line; empty for the protocol as it is named."""
        return ", ".join(f"{key} = {_shown(getattr(self, key))}" for key in self.changed)

    def columns(self, fields: Iterable[str], **instead: str | int) -> dict[str, Any]:
        """Columns `protocol.*` of a row: these fields as text, or what is given instead of them."""
        return {f"protocol.{field}": instead.get(field, _shown(getattr(self, field))) for field in fields}

    def bound_images(self, n: int) -> int:
        """For how many of n test images the NLL is evaluated: two at least, for its error."""
        return min(max(self.nll_images, 2), n) if self.nll_images else n

    @property
    def metric_labels(self) -> Mapping[str, str]:
        """What each metric is called on features of this extractor: "FD-digits"."""
        return self.extractor.build(EXTRACTORS).labels

    @cached_property
    def spelled(self) -> Spelled:
        """The identity, for the keys that it is a part of."""
        return Spelled(self.identity())

    def identity(self) -> dict[str, Any]:
        """What the figures depend on, for keys."""
        fields = self.model_dump(exclude=_DESCRIPTION | _STATED | {"extractor", "moments"})
        if self.moments:
            fields["moments"] = moments_of(self.moments).sha256
        extractor = self.extractor.identity(EXTRACTORS)
        # where the weights lie is no part of what they are; weights other than the published ones are
        extractor["options"] = {k: v for k, v in extractor["options"].items() if k != "weights"}
        if foreign := self.extractor.build(EXTRACTORS).foreign_weights:
            extractor["weights"] = foreign
        return {**fields, "extractor": extractor}

    def with_changes(self, changes: Mapping[str, Any]) -> "Protocol":
        """This protocol with keys changed, beside its name; raises pydantic's ValidationError."""
        own = {} if self.name in protocol_names() else self.model_dump(exclude={"changed"})
        return Protocol.model_validate({**own, "name": self.name, **self.changed, **changes})

    def check_reference(self, dataset: Dataset) -> None:
        """Raises InputError unless the dataset's images were prepared as the protocol states, and are enough for it."""
        self.reference_count(dataset.sizes[self.reference])
        if self.preprocessing == dataset.preprocessing:
            return
        shape = f"{dataset.resolution}x{dataset.resolution}"
        own = "there is nothing to crop or resize" if dataset.preprocessing == "none" else "prepared otherwise"
        raise InputError(
            f"protocol.preprocessing = {self.preprocessing!r}: {dataset.name} is stored at {shape}, {own}; "
            f"{dataset.preprocessing!r} is what it takes"
        )

    def reference_count(self, n: int) -> int:
        """How many of a reference's n images are used: whole batches alone with `drop_last`; InputError for too few."""
        kept = n - n % self.drop_last if self.drop_last else n
        if n and kept < LEAST_IMAGES:  # a set that has still to be added has none
            dropped = f"protocol.drop_last = {self.drop_last} leaves {kept} of the {n:,} images of the reference"
            raise InputError(f"{dropped}, and at least {LEAST_IMAGES} are needed")
        return kept


class StatedProtocol(Protocol):
    """How a published value was measured: a protocol, and those of its keys that the source leaves open.

    A TOML has "ddim-2021", or { name = "fid-50k", ema = "unknown" }; an unknown key has the named protocol's value, or its
    default. `quantizer = "none"` is for samples that were measured as floats, which this suite cannot do.
    """

    unknown: list[str] = []

    @model_validator(mode="before")
    @classmethod
    def _left_open(cls, value: Any) -> Any:
        if not isinstance(value, dict) or UNKNOWN in value:
            return value
        left_open = [key for key, stated in value.items() if stated == UNKNOWN]
        for key in left_open:
            if key not in Protocol.model_fields:
                raise ValueError(str(unknown("key", key, sorted(Protocol.model_fields))))
        return {**{key: stated for key, stated in value.items() if key not in left_open}, "unknown": left_open}

    @property
    def changes(self) -> str:
        """What is changed or unknown: "n = 10000, ema = unknown"."""
        return ", ".join([*filter(None, [super().changes]), *(f"{key} = {UNKNOWN}" for key in self.unknown)])


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else printed(value)


def protocol_names() -> list[str]:
    """The named protocols."""
    return sorted(catalogue("protocols"))


def named_protocol(name: str) -> Protocol:
    """The protocol of the catalogue; raises InputError with the nearest name for one that is not in it."""
    return Protocol.model_validate(one_of("protocol", name, protocol_names()))
