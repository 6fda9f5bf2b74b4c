"""What papers print: tables as data, one file each in experiments/published/, and how every value was measured.

A row of an experiment names the rows of such tables that it replicates. Source marks: R seen in a file of the project's
repository, I in an issue thread, C in a copy of the paper. A number from memory is never a target.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, field_validator, model_validator

from replication.harness.protocol import StatedProtocol
from replication.registry import METRICS, unknown
from replication.settings import Settings, merged
from replication.types import InputError


def _known(name: str) -> str:
    """The name of a metric; raises ValueError with the nearest valid one."""
    if name not in METRICS.names():
        raise ValueError(str(unknown("metric", name, METRICS.names())))
    return name


Metric = Annotated[str, AfterValidator(_known)]
CostName = Literal["multiply_adds", "parameters"]  # of one forward pass of one image, and trained ones


class PublishedRow(Settings):
    """A line of a published table, or a part of one: for each metric a value per step count, in the order of `steps`.

    `errors` are the printed ones, where there are any; `protocol` changes single keys of the table's; `costs` are printed
    beside the values (what papers call Gflops are multiply-adds).
    """

    row: str
    steps: Annotated[list[PositiveInt], Field(min_length=1)]
    values: Annotated[dict[Metric, list[float]], Field(min_length=1)]
    errors: dict[Metric, list[Annotated[float, Field(ge=0)]]] = {}
    costs: dict[CostName, PositiveFloat] = {}
    protocol: StatedProtocol

    @model_validator(mode="after")
    def _as_printed(self) -> "PublishedRow":
        for kind, lists in (("values", self.values), ("errors", self.errors)):
            for metric, numbers in lists.items():
                if len(numbers) != (expected := len(self.steps)):
                    raise ValueError(f"{self.row} has {len(numbers)} {kind} of {metric} for {expected} step counts")
        for metric in ("precision", "recall"):
            if any(not 0 <= value <= 1 for value in self.values.get(metric, [])):
                raise ValueError(f"{self.row}: {metric} is a share, from 0 to 1")
        if lacking := self.errors.keys() - self.values.keys():
            raise ValueError(f"{self.row} has errors but no values of {', '.join(sorted(lacking))}")
        return self


class Source(Settings):
    """Where a table is printed and what is behind it: `training_steps` of the network, where the source states them."""

    paper: str  # arXiv number, or the project's repository
    table: str
    source: Literal["R", "I", "C"]
    dataset: str
    training_steps: PositiveInt | None = None

    @field_validator("source", mode="before")
    @classmethod
    def _not_from_memory(cls, value: Any) -> Any:
        if value == "M":
            raise ValueError("a number from memory is never a target; look at the source (valid: R, I, C)")
        return value


class PublishedValue(Source):
    """What a paper prints for one cell in one metric."""

    row: str
    protocol: StatedProtocol
    steps: int
    metric: Metric
    value: float
    error: float | None  # as printed: its meaning is the paper's
    costs: dict[CostName, float]  # of the network behind it, as printed

    @property
    def citation(self) -> str:
        """Paper, table, row and source mark in one line."""
        return f"{self.paper}, {self.table}, {self.row} [{self.source}]"


class PublishedTable(Source):
    """A table of a paper or of somebody's page. `protocol` in the TOML holds for every row that does not change it."""

    rows: Annotated[list[PublishedRow], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _protocol_of_every_row(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "protocol" not in value or not isinstance(value.get("rows"), list):
            return value
        shared = {"protocol": value["protocol"]}
        rows = [merged(shared, row) if isinstance(row, dict) else row for row in value["rows"]]
        return {key: content for key, content in value.items() if key != "protocol"} | {"rows": rows}

    def values(self, row: str) -> list[PublishedValue]:
        """Every value of that row; raises InputError with the nearest name where the table has no such row."""
        parts = [part for part in self.rows if part.row == row]
        if not parts:
            raise unknown(f"row of {self.paper}, {self.table}", row, [part.row for part in self.rows])
        source = {name: getattr(self, name) for name in Source.model_fields}
        return [
            PublishedValue(
                **source,
                **{name: getattr(part, name) for name in ("row", "protocol", "costs")},
                steps=steps,
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
        if self.table not in tables:
            raise unknown("published table", self.table, sorted(tables))
        row = self.row or label
        values = tables[self.table].values(row)
        found = [value for value in values if value.steps in steps]
        if not found:
            printed = ", ".join(map(str, sorted({value.steps for value in values})))
            raise InputError(f"published {self.table}, {row}: has values at {printed} steps, none of this row's")
        return found
