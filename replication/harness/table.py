"""Tables as data: which columns of a row a reader is shown, under which heading and in which form."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from replication.metrics.metric import VARIETY, metrics

NOT_RUN = "not run"


@dataclass(frozen=True)
class Column:
    """One column of a table; `heading` may name the labels of the extractor: "{fd}", "r{fd}".

    `form` formats a number times `scale`; a function of the value does in its place, and without either a value is text.
    `spread` adds the 95 % interval "value [low, high]", or 1.96 standard errors "value ± error". `absent` is shown where
    the row has nothing, and keeps a column that has nothing at all. With `only_if` nothing is shown where that column
    is "none".
    """

    heading: str
    column: str
    form: str | Callable[[Any], str] = ""
    scale: float = 1.0
    spread: Literal["", "interval", "error"] = ""
    absent: str = ""
    only_if: str = ""

    @property
    def read(self) -> list[str]:
        """The columns of a row that the text is made of."""
        return [self.column, self.only_if, *(f"{self.column}{end}" for end in ("_low", "_high", "_se") if self.spread)]

    def text(self, record: Mapping[str, Any]) -> str:
        """The record's entry in this column."""
        value = record.get(self.column)
        if value is None or (self.only_if and record.get(self.only_if) == "none"):
            return self.absent
        if not isinstance(self.form, str):
            return self.form(value)
        if not self.form:
            return str(value)
        number, scale = self.form.format, self.scale
        shown = number(value * scale)
        if self.spread == "interval":
            low, high = record.get(f"{self.column}_low"), record.get(f"{self.column}_high")
            return f"{shown} [{'' if low is None else number(low * scale)}, {'' if high is None else number(high * scale)}]"
        if self.spread == "error" and (error := record.get(f"{self.column}_se")) is not None:
            return f"{shown} ± {number(error * scale * 1.96)}"
        return shown


@dataclass(frozen=True)
class TableSpec:
    """The columns of a table of rows that have `needs`, under `heading`; the main table of cells has none.

    A row that differs from the table's first in one of `alike` is marked: their figures are not to be compared.
    """

    heading: str
    columns: tuple[Column, ...]
    needs: str = ""
    alike: tuple[str, ...] = ("protocol.n", "protocol.reference", "protocol.drop_last")


def metrics_in(heading: str) -> tuple[Column, ...]:
    """The columns of every metric whose table has this heading; the distance is shown even where nothing is run."""
    return tuple(
        Column(
            metric.heading,
            metric.column,
            metric.form,
            metric.scale,
            metric.spread,
            absent=NOT_RUN if metric.name == "fd" else "",
        )
        for metric in metrics()
        if metric.table == heading
    )


NAMED = (
    Column("sampler", "label"),
    Column("spacing", "sampling.spacing"),
    Column("steps", "sampling.steps"),
    Column("NFE", "sampling.nfe"),
)
_MAIN = (
    *metrics_in(""),
    Column("ms/image", "timing.seconds_per_image", "{:.3g}", 1000),
    Column("images/s", "timing.images_per_second", "{:.3g}"),
    Column("floor, ms/image", "timing.floor_seconds", "{:.3g}", 1000),
    Column("decoded, ms/image", "timing.image_seconds", "{:.3g}", 1000, only_if="recipe.first_stage"),
)
# In what papers call Gflops: multiply-adds, of one forward pass, of the whole training and of one image.
_COST = (
    Column("{fd}", "metric.fd", "{:.3g}", spread="interval"),
    Column("parameters", "cost.parameters", "{:,.0f}"),
    Column("multiply-adds, M", "cost.multiply_adds", "{:,.2f}", 1e-6),
    Column("activations, MB", "cost.activation_bytes", "{:,.2f}", 1e-6),
    Column("training, T", "cost.training_multiply_adds", "{:,.3f}", 1e-12),
    Column("image, G", "cost.image_multiply_adds", "{:,.2f}", 1e-9),
)
# The mean of the blocks of n images, how far they lie apart, and the smallest, which papers print.
_BLOCKS = (
    Column("blocks", "protocol.seeds", lambda seeds: str(len(seeds.split()))),
    Column("{fd}, mean", "metric.fd", "{:.3g}"),
    Column("standard deviation", "metric.fd_std", "{:.2g}"),
    Column("smallest", "metric.fd_min", "{:.3g}"),
    Column("largest", "metric.fd_max", "{:.3g}"),
)
CELL_TABLES = (
    TableSpec("", NAMED + _MAIN),
    TableSpec(VARIETY, NAMED + metrics_in(VARIETY), needs="metric.precision"),
    TableSpec("Cost", NAMED + _COST, needs="cost.multiply_adds"),
    TableSpec("Seed blocks", NAMED + _BLOCKS, needs="metric.fd_std"),
)
