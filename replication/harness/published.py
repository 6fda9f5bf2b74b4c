"""What papers print: tables as data, one file each in experiments/published/, and how every value was sampled and measured.

A row of an experiment names the rows of such tables that it replicates. Source marks: R seen in a file of the project's
repository, I in an issue thread, C in a copy of the paper. A number from memory is never a target.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    field_validator,
    model_validator,
)

from replication.diffusion.denoiser import CLIPS
from replication.harness.protocol import StatedProtocol
from replication.registry import AUTOENCODERS, METRICS, SAMPLERS, SPACINGS, Registry, one_of, unknown
from replication.sampling.generation import Guidance
from replication.settings import Line, Part, Settings, merged
from replication.types import InputError

T = TypeVar("T")
NotStated = Literal["not stated"]
NOT_STATED: NotStated = "not stated"
NONE: Literal["none"] = "none"


def _one_of(kind: str, valid: Callable[[], Sequence[str]]) -> AfterValidator:
    """A name that is one of these; the ValueError for another has the nearest of them."""

    def check(name: str) -> str:
        if name not in (names := valid()):
            raise ValueError(str(unknown(kind, name, list(names))))
        return name

    return AfterValidator(check)


def _buildable(registry: Registry) -> AfterValidator:
    """A part whose name and options are those of the registry; raises ValueError with the nearest valid ones."""

    def check(part: Part) -> Part:
        try:
            part.identity(registry)
        except InputError as error:
            raise ValueError(str(error)) from error
        return part

    return AfterValidator(check)


class Other(Settings):
    """What this suite has no name for, in few words: { other = "iPNDM of order 4" }. Nothing here is the same."""

    other: str

    def __str__(self) -> str:
        return self.other


def _form(value: Any) -> str:
    """Which of the three forms of Stated a value has."""
    other = isinstance(value, Other) or (isinstance(value, Mapping) and "other" in value)
    return "open" if value == NOT_STATED else "other" if other else "stated"


Stated = Annotated[
    Annotated[NotStated, Tag("open")] | Annotated[Other, Tag("other")] | Annotated[T, Tag("stated")],
    Discriminator(_form),
]
Sampler = Annotated[Part, _buildable(SAMPLERS)]
SpacingRule = Annotated[Part, _buildable(SPACINGS)]
Clip = Annotated[str, _one_of("clip", lambda: CLIPS)]
Encoder = Annotated[str, _one_of("autoencoder", lambda: [NONE, *AUTOENCODERS.names()])]
Metric = Annotated[str, _one_of("metric", METRICS.names)]
CostName = Literal["multiply_adds", "parameters"]  # of one forward pass of one image, and trained ones


class StatedSampling(Settings):
    """How the images behind a value were drawn; what the source leaves open is "not stated".

    sampler and spacing are parts as in an experiment's row. last_alpha: that of x_0, 1 or the schedule's first.
    first_stage names the encoder in whose latents the model lives, and decoder the first stage that made pixels of them,
    by default the same; of pixels both are "none". guidance is "none" where a model that could be guided was not.
    """

    sampler: Stated[Sampler] = NOT_STATED
    spacing: Stated[SpacingRule] = NOT_STATED
    clip: Stated[Clip] = NOT_STATED
    last_alpha: Stated[Literal["1", "alphas_cumprod[0]"]] = NOT_STATED
    guidance: Stated[Literal["none"] | Guidance] = NOT_STATED
    first_stage: Stated[Encoder] = NOT_STATED
    decoder: str = NOT_STATED

    @model_validator(mode="before")
    @classmethod
    def _own_decoder(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(stage := value.get("first_stage"), str) and "decoder" not in value:
            return {**value, "decoder": stage}
        return value


class StatedMetric(Settings):
    """How a value was made of the images, beside what the protocol says.

    evaluator: whose code computed it, "torch-fidelity" or another. selection: how the value was chosen among others, "none"
    for the only one of its kind. The rest is given where it departs from the protocol: the network of the features, the
    number of reference images, and how these were resized.
    """

    evaluator: str = NOT_STATED
    selection: str = NOT_STATED
    features: str | None = None
    reference_images: PositiveInt | None = None
    resize: str | None = None


class PublishedRow(Settings):
    """A line of a published table, or a part of one: for each metric a value per step count, in the order of `steps`.

    `errors` are the printed ones, where there are any; `nfe`, evaluations per image, where the source counts these;
    `training_steps` are those of the network, where the source states them; `costs` are printed beside the values (what
    papers call Gflops are multiply-adds). `samples` is the name of the file with the very images, where it is handed out.
    """

    row: Line
    dataset: Line
    samples: str = ""
    training_steps: PositiveInt | None = None
    steps: Annotated[list[PositiveInt], Field(min_length=1)]
    values: Annotated[dict[Metric, list[float]], Field(min_length=1)]
    errors: dict[Metric, list[Annotated[float, Field(ge=0)]]] = {}
    nfe: list[PositiveInt] = []
    costs: dict[CostName, PositiveFloat] = {}
    protocol: StatedProtocol
    sampling: StatedSampling = StatedSampling()
    metric: StatedMetric = StatedMetric()

    @model_validator(mode="after")
    def _as_printed(self) -> "PublishedRow":
        counted = {"nfe": self.nfe} if self.nfe else {}
        for kind, lists in (("values", self.values), ("errors", self.errors), ("evaluations", counted)):
            for metric, numbers in lists.items():
                if len(numbers) != (expected := len(self.steps)):
                    raise ValueError(f"{self.row} has {len(numbers)} {kind} of {metric} for {expected} step counts")
        for metric, values in self.values.items():
            if metric.endswith(("precision", "recall")) and any(not 0 <= value <= 1 for value in values):
                raise ValueError(f"{self.row}: {metric} is a share, from 0 to 1")
        if lacking := self.errors.keys() - self.values.keys():
            raise ValueError(f"{self.row} has errors but no values of {', '.join(sorted(lacking))}")
        return self


class Source(Settings):
    """Where a table is printed."""

    paper: Line  # arXiv number, or the project's repository
    table: Line
    source: Literal["R", "I", "C"]

    @field_validator("source", mode="before")
    @classmethod
    def _not_from_memory(cls, value: Any) -> Any:
        if value == "M":
            raise ValueError("a number from memory is never a target; look at the source (valid: R, I, C)")
        return value


class PublishedValue(Source):
    """What a paper prints for one cell in one metric."""

    row: str
    dataset: str
    training_steps: int | None
    protocol: StatedProtocol
    sampling: StatedSampling
    measured: StatedMetric
    steps: int
    nfe: int | None
    metric: Metric
    value: float
    error: float | None  # as printed: its meaning is the paper's
    costs: dict[CostName, float]  # of the network behind it, as printed

    @property
    def citation(self) -> str:
        """Paper, table, row and source mark in one line."""
        return f"{self.paper}, {self.table}, {self.row} [{self.source}]"


SHARED = ("dataset", "training_steps", "protocol", "sampling", "metric")


def _with_shared(shared: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a TOML over what the table has for all; of `sampling` the parts alone take single options."""
    whole = merged(shared, row)
    drawn = row.get("sampling", {})
    for field, stated in drawn.items() if isinstance(drawn, Mapping) else ():
        if field not in ("sampler", "spacing") or _form(stated) == "other":
            whole["sampling"][field] = stated
    return whole


class PublishedTable(Source):
    """A table of a paper or of somebody's page.

    SHARED may stand in the TOML for every row, and a row changes single keys of them; there is no row without a protocol.
    """

    rows: Annotated[list[PublishedRow], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _shared_by_every_row(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("rows"), list):
            return value
        shared = {key: value[key] for key in SHARED if key in value}
        rows = [_with_shared(shared, row) if isinstance(row, dict) else row for row in value["rows"]]
        for row in rows:
            if isinstance(row, dict) and "protocol" not in row:
                raise ValueError(f"row {row.get('row')!r} has no protocol; name one in the row, or for the whole table")
        return {key: content for key, content in value.items() if key not in shared} | {"rows": rows}

    def values(self, row: str) -> list[PublishedValue]:
        """Every value of that row; raises InputError with the nearest name where the table has no such row."""
        parts = [part for part in self.rows if part.row == row]
        if not parts:
            raise unknown(f"row of {self.paper}, {self.table}", row, [part.row for part in self.rows])
        source = {name: getattr(self, name) for name in Source.model_fields}
        return [
            PublishedValue(
                **source,
                **{
                    name: getattr(part, name)
                    for name in ("row", "dataset", "training_steps", "protocol", "sampling", "costs")
                },
                measured=part.metric,
                steps=steps,
                nfe=part.nfe[i] if part.nfe else None,
                metric=metric,
                value=value,
                error=part.errors[metric][i] if metric in part.errors else None,
            )
            for part in parts
            for metric, numbers in part.values.items()
            for i, (steps, value) in enumerate(zip(part.steps, numbers, strict=True))
        ]


class Published(Settings):
    """The row of a published table that an experiment's row replicates; `table` is a file of experiments/published/.

    A TOML has { table = "ddim-table-1", row = "eta 0.0" }, or "ddim-table-1" alone where the row has the label of ours.
    """

    table: str
    row: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_toml(cls, value: Any) -> Any:
        return {"table": value} if isinstance(value, str) else value

    def values(self, tables: Mapping[str, PublishedTable], label: str, steps: Sequence[int]) -> list[PublishedValue]:
        """What is printed at these step counts; raises InputError for names that are not there, and for no value."""
        row = self.row or label
        values = tables[one_of("published table", self.table, sorted(tables))].values(row)
        found = [value for value in values if value.steps in steps]
        if not found:
            printed = ", ".join(map(str, sorted({value.steps for value in values})))
            raise InputError(f"published {self.table}, {row}: has values at {printed} steps, none of this row's")
        return found


def printed_of(tables: Mapping[str, PublishedTable], named: str | None, file: str) -> list[PublishedValue]:
    """What is printed of the row TABLE:ROW, or else of a file of samples that a source hands out, known by its name.

    Raises InputError for a table or a row that is not there.
    """
    if named is not None:
        table, _, row = named.partition(":")
        return tables[one_of("published table", table, sorted(tables))].values(row)
    rows = {(name, part.row) for name, table in tables.items() for part in table.rows if file and part.samples == file}
    return [value for name, row in sorted(rows) for value in tables[name].values(row)]
