"""Paper against measured: each published value beside the row that replicates it, and whether both were measured alike."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import hypot

from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.harness.protocol import Protocol
from replication.harness.published import PublishedValue
from replication.harness.table import NOT_RUN
from replication.metrics.metric import metric_named
from replication.metrics.proportion import Z95
from replication.registry import EXTRACTORS
from replication.report.rows import csv_text
from replication.report.tables import Table

HEADING = "Paper against measured"


@dataclass(frozen=True)
class Comparison:
    """One published value and its cell. `low` and `high` bound the difference, measured minus paper, with 95 %.

    `measured` is None where the cell has no row, or the row not this metric; the bounds are None where there is no
    interval either. `differs` are the protocol's fields that differ, the dataset among them, with both values; `unknown`
    those that the source leaves open; `recipe` whatever else is known to differ.
    """

    cell: Cell
    published: PublishedValue
    run: bool
    measured: float | None
    low: float | None
    high: float | None
    differs: tuple[str, ...]
    unknown: tuple[str, ...]
    recipe: tuple[str, ...]

    @property
    def difference(self) -> float | None:
        """Measured minus paper."""
        return None if self.measured is None else self.measured - self.published.value

    @property
    def inside(self) -> bool | None:
        """Whether the interval of the difference holds 0; an NLL is printed as a bound, which less than it does not break."""
        if self.low is None or self.high is None:
            return None
        return self.low <= 0 and (metric_named(self.published.metric).upper_bound or self.high >= 0)

    @property
    def agree(self) -> str:
        """Whether the protocols agree."""
        return "no" if self.differs else "as far as stated" if self.unknown else "yes"

    @property
    def all_differences(self) -> str:
        """Every difference in one line."""
        not_stated = [f"not stated: {', '.join(self.unknown)}"] if self.unknown else []
        return "; ".join([*self.differs, *self.recipe, *not_stated])


def comparisons(cells: Sequence[Cell], rows: Mapping[str, Record]) -> list[Comparison]:
    """One for each published value of each cell, in the table's order."""
    return [_comparison(cell, published, rows.get(cell.key)) for cell in cells for published in cell.published]


def _comparison(cell: Cell, published: PublishedValue, record: Record | None) -> Comparison:
    run, differs = record or {}, tuple(_differing(cell, published, record or {}))
    # another extractor's or dataset's figure is another quantity: there is no difference to be taken
    same = not any(difference.startswith(("dataset", "extractor")) for difference in differs)
    low, high = _bounds(run, published) if same else (None, None)
    return Comparison(
        cell=cell,
        published=published,
        run=record is not None,
        measured=run.get(f"metric.{published.metric}") if same else None,
        low=low,
        high=high,
        differs=differs,
        unknown=tuple(field for field in _fields(cell, published) if field in published.protocol.unknown),
        recipe=tuple(_differing_recipe(cell, published)),
    )


def _bounds(record: Record, published: PublishedValue) -> tuple[float | None, float | None]:
    """The row's interval moved by the paper's value; that value's own error is in it where it is known.

    An IS is printed with its standard deviation over ten splits, whose mean it is. The sampling and training noise of a
    paper's FID is in no table, so that the interval is ours alone.
    """
    column = f"metric.{published.metric}"
    value, error = record.get(column), record.get(f"{column}_se")
    if value is None or (error is None and f"{column}_low" not in record):
        return None, None
    below = value - record.get(f"{column}_low", value - Z95 * (error or 0))
    above = record.get(f"{column}_high", value + Z95 * (error or 0)) - value
    difference, papers = (
        value - published.value,
        Z95 * (published.error or 0) / metric_named(published.metric).splits ** 0.5,
    )
    return difference - hypot(below, papers), difference + hypot(above, papers)


def _fields(cell: Cell, published: PublishedValue) -> list[str]:
    """The fields of a protocol that this metric of this cell depends on; a network without classes draws no labels."""
    fields = metric_named(published.metric).depends
    return [field for field in fields if field != "labels" or cell.recipe.condition]


def _differing(cell: Cell, published: PublishedValue, record: Record) -> Iterator[str]:
    """The fields in which the row's protocol is not the paper's, both values given: "n 5000 for 50000"."""
    dataset, ours, theirs = str(cell.recipe.dataset), cell.protocol, published.protocol.protocol
    if dataset != published.dataset:
        yield f"dataset {dataset} for {published.dataset}"
    for field in _fields(cell, published):
        if getattr(ours, field) == getattr(theirs, field) or field in published.protocol.unknown:
            continue
        a, b = _text(ours, field), _text(theirs, field)
        if a != b:
            yield f"{field} {a} for {b}"
    remote = getattr(EXTRACTORS.get(theirs.extractor.name), "remote", None)
    weights = remote.sha256 if remote else ""
    found = record.get("protocol.extractor_sha256", weights)
    if ours.extractor == theirs.extractor and not found.startswith(weights):
        yield f"extractor weights {found[:8]} for {weights[:8]}"


def _differing_recipe(cell: Cell, published: PublishedValue) -> Iterator[str]:
    trained = cell.recipe.training.steps
    if published.training_steps not in (None, trained):
        yield f"training steps {trained} for {published.training_steps}"


def _text(protocol: Protocol, field: str) -> str:
    """The field's value. Seeds count by their number: those of another generator are other images anyway."""
    value = getattr(protocol, field)
    if field == "nll_images" and value == 0:
        return "all"
    if isinstance(value, list):
        return str(len(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def published_table(found: Sequence[Comparison]) -> Table:
    """One line per comparison, for a reader."""
    return Table.of([_line(c) for c in found], [c.cell.key if c.run else None for c in found])


def _line(c: Comparison) -> dict[str, str]:
    form, published = metric_named(c.published.metric).paper_form, c.published
    difference = "" if c.difference is None else f"{c.difference:+{form}}"
    if c.low is not None:
        difference += f" [{c.low:+{form}}, {c.high:+{form}}]"
    return {
        "sampler": c.cell.label,
        "spacing": str(c.cell.sampling.spacing),
        "steps": str(c.cell.sampling.steps),
        "metric": _label(published),
        "paper": f"{published.value:.10g}" + (f" ± {published.error:.10g}" if published.error is not None else ""),
        "measured": NOT_RUN if not c.run else "not measured" if c.measured is None else f"{c.measured:{form}}",
        "difference [our 95 %]": difference,
        "inside": _yes(c.inside),
        "protocols agree": c.agree,
        "differs in": c.all_differences,
        "source": published.citation,
    }


@cache
def _labels(extractor: str) -> Mapping[str, str]:
    return EXTRACTORS.build(extractor).labels


def _label(published: PublishedValue) -> str:
    """The metric as the paper's own extractor calls it."""
    label, unit = (
        _labels(published.protocol.protocol.extractor.name)[published.metric],
        metric_named(published.metric).unit,
    )
    return f"{label}, {unit}" if unit else label


def published_csv(found: Sequence[Comparison]) -> str:
    """One line per comparison, for a program: numbers in full."""
    return csv_text([_record(comparison) for comparison in found])


def _record(c: Comparison) -> Record:
    published = c.published
    return {
        "cell": c.cell.key,
        "label": c.cell.label,
        "sampling.sampler": str(c.cell.sampling.sampler),
        "sampling.spacing": str(c.cell.sampling.spacing),
        "sampling.steps": c.cell.sampling.steps,
        "metric": published.metric,
        "paper": published.paper,
        "table": published.table,
        "row": published.row,
        "source": published.source,
        "dataset": published.dataset,
        "published": published.value,
        "published_error": published.error,
        "measured": c.measured,
        "difference": c.difference,
        "difference_low": c.low,
        "difference_high": c.high,
        "inside": _yes(c.inside),
        "protocol": c.cell.protocol.title,
        "published_protocol": published.protocol.title,
        "protocols_agree": c.agree,
        "differs": "; ".join(c.differs),
        "not_stated": ", ".join(c.unknown),
        "recipe_differs": "; ".join(c.recipe),
    }


def _yes(answer: bool | None) -> str:
    return "" if answer is None else "yes" if answer else "no"
