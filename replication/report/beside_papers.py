"""Paper against measured: each published value beside the row that replicates it, and whether both were measured alike."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import hypot
from typing import NamedTuple

import torch

from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.harness.protocol import Protocol
from replication.harness.published import NONE, NOT_STATED, PublishedValue
from replication.harness.table import NOT_RUN
from replication.metrics.metric import metric_named
from replication.metrics.uncertainty import Z95
from replication.registry import DATASETS, EXTRACTORS, SAMPLERS
from replication.report.rows import csv_text
from replication.report.tables import STALE, Table, stale, stale_notes
from replication.settings import Part, printed
from replication.types import InputError

HEADING = "Paper against measured"


class Unlike(NamedTuple):
    """One thing that a value depends on and that is not known to be alike: ours, and the source's, None where it is open."""

    field: str
    ours: str
    theirs: str | None


@dataclass(frozen=True)
class Comparison:
    """One published value, its cell, and the row where there is one."""

    cell: Cell
    published: PublishedValue
    record: Record | None

    @cached_property
    def measured(self) -> float | None:
        """The row's figure; None where it has none, or one of another dataset or extractor: that is another quantity."""
        other = any(u.field.startswith(("dataset", "extractor")) and u.theirs is not None for u in self.unlike)
        return None if other else (self.record or {}).get(f"metric.{self.published.metric}")

    @cached_property
    def difference(self) -> float | None:
        """Measured minus paper."""
        return None if self.measured is None else self.measured - self.published.value

    @cached_property
    def bounds(self) -> tuple[float, float] | None:
        """95 % bounds of the difference: the row's interval, and the error of the paper's value where it is known.

        An IS is printed with its standard deviation over ten splits, whose mean it is. The sampling and training noise of a
        paper's FID is in no table, so that the interval is ours alone.
        """
        record, column = self.record or {}, f"metric.{self.published.metric}"
        error = record.get(f"{column}_se")
        if self.measured is None or self.difference is None or (error is None and f"{column}_low" not in record):
            return None
        half = Z95 * (error or 0)
        below = self.measured - record.get(f"{column}_low", self.measured - half)
        above = record.get(f"{column}_high", self.measured + half) - self.measured
        papers = Z95 * (self.published.error or 0) / metric_named(self.published.metric).splits ** 0.5
        return self.difference - hypot(below, papers), self.difference + hypot(above, papers)

    @property
    def inside(self) -> str:
        """Whether the bounds hold 0; an NLL is printed as a bound, which less than it does not break."""
        if self.bounds is None:
            return ""
        low, high = self.bounds
        return "yes" if low <= 0 and (metric_named(self.published.metric).upper_bound or high >= 0) else "no"

    @cached_property
    def unlike(self) -> tuple[Unlike, ...]:
        """In what ours differs from the paper's, dataset and sampling included, and what the source leaves open."""
        sampled = "n" in metric_named(self.published.metric).depends
        found = [*self._protocol(), *self._metric(), *(self._sampling() if sampled else ())]
        return tuple(unlike for unlike in found if unlike.ours != unlike.theirs)

    def _protocol(self) -> Iterator[Unlike]:
        ours, theirs, made = self.cell.protocol, self.published.protocol, self.published.measured
        yield Unlike("dataset", str(self.cell.recipe.dataset), self.published.dataset)
        instead = {"extractor": made.features, "preprocessing": made.resize}
        for field in metric_named(self.published.metric).depends:
            if field == "labels" and not self.cell.recipe.condition:  # a network without classes draws none
                continue
            if stated := instead.get(field):
                yield Unlike(field, _text(ours, field), stated)
            elif field in theirs.unknown:
                yield Unlike(field, _text(ours, field), None)
            elif getattr(ours, field) != getattr(theirs, field):
                yield Unlike(field, _text(ours, field), _text(theirs, field))
        remote = getattr(EXTRACTORS.get(theirs.extractor.name), "remote", None)
        weights = remote.sha256 if remote else ""
        found = (self.record or {}).get("protocol.extractor_sha256", weights)
        if ours.extractor == theirs.extractor and not found.startswith(weights):
            yield Unlike("extractor weights", found[:8], weights[:8])

    def _metric(self) -> Iterator[Unlike]:
        theirs, protocol, metric = self.published.measured, self.cell.protocol, metric_named(self.published.metric)
        if metric.of_features:
            yield Unlike("evaluator", metric.evaluator, _stated(theirs.evaluator))
        yield Unlike("selection", NONE, _stated(theirs.selection))
        if theirs.reference_images is not None:
            whole = protocol.reference_count(self.cell.recipe.dataset.build(DATASETS).sizes[protocol.reference])
            ours = metric.reference_images or whole or "all"  # no number is known of images that are yet to be brought
            yield Unlike("reference images", str(ours), str(theirs.reference_images))

    def _sampling(self) -> Iterator[Unlike]:
        ours, theirs, recipe = self.cell.sampling, self.published.sampling, self.cell.recipe
        rule = theirs.sampler.identity(SAMPLERS) if isinstance(theirs.sampler, Part) else None
        if rule != ours.sampler.identity(SAMPLERS):  # default options are options too
            yield Unlike("sampler", str(ours.sampler), _stated(theirs.sampler))
        if not self._same_times():
            yield Unlike("spacing", str(ours.spacing), _stated(theirs.spacing))
        yield Unlike("clip", ours.clip, _stated(theirs.clip))
        at_data = theirs.last_alpha == NOT_STATED or float(ours.times(recipe.build_schedule())[-1]) == 0
        yield Unlike("last alpha", "1" if at_data else "alphas_cumprod[0]", _stated(theirs.last_alpha))
        if recipe.condition:
            yield Unlike("guidance", str(ours.guidance or NONE), _stated(theirs.guidance))
        stage = recipe.first_stage
        yield Unlike("first stage", stage.autoencoder.name if stage else NONE, _stated(theirs.first_stage))
        yield Unlike("decoder", stage.name if stage else NONE, _stated(theirs.decoder))
        if self.published.nfe is not None and "sampling.nfe" in (self.record or {}):
            yield Unlike("NFE", str((self.record or {})["sampling.nfe"]), str(self.published.nfe))

    def _same_times(self) -> bool:
        """Whether both spacings visit the same times, as all that take every step do under different names."""
        ours, theirs = self.cell.sampling, self.published.sampling.spacing
        if not isinstance(theirs, Part) or theirs == ours.spacing:
            return theirs == ours.spacing
        schedule = self.cell.recipe.build_schedule()
        try:
            visited = ours.model_copy(update={"spacing": theirs}).times(schedule)
        except InputError:  # a rule that this schedule or this number of steps has not
            return False
        return torch.equal(visited, ours.times(schedule))

    @cached_property
    def differs(self) -> tuple[str, ...]:
        """In what ours is not the paper's, with both values: "n 5000 for 50000"."""
        return tuple(f"{field} {ours} for {theirs}" for field, ours, theirs in self.unlike if theirs is not None)

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """What the source leaves open."""
        return tuple(field for field, _, theirs in self.unlike if theirs is None)

    @property
    def recipe(self) -> tuple[str, ...]:
        """What else is known to differ."""
        ours, theirs = self.cell.recipe.training.steps, self.published.training_steps
        return () if theirs in (None, ours) else (f"training steps {ours} for {theirs}",)

    @property
    def agree(self) -> str:
        """Whether the protocols agree."""
        return "no" if self.differs else "as far as stated" if self.unknown else "yes"

    @property
    def all_differences(self) -> str:
        """Every difference in one line."""
        not_stated = [f"not stated: {', '.join(self.unknown)}"] if self.unknown else []
        return "; ".join([*self.differs, *self.recipe, *not_stated])


def _stated(value: object) -> str | None:
    """What a source states, as text; None where it does not."""
    return None if value == NOT_STATED else str(value)


def comparisons(cells: Sequence[Cell], rows: Mapping[str, Record]) -> list[Comparison]:
    """One for each published value of each cell, in the table's order."""
    return [Comparison(cell, published, rows.get(cell.key)) for cell in cells for published in cell.published]


def _text(protocol: Protocol, field: str) -> str:
    """The field's value. Seeds count by their number: those of another generator are other images anyway."""
    value = getattr(protocol, field)
    if field == "nll_images" and value == 0:
        return "all"
    return str(len(value)) if isinstance(value, list) else printed(value)


def published_table(found: Sequence[Comparison]) -> Table:
    """One line per comparison, for a reader."""
    rows = {c.cell.key: c.record for c in found if c.record is not None}
    behind = stale([c.cell for c in found], rows)
    lines = [_line(c) for c in found]
    for c, line in zip(found, lines, strict=True):
        line["sampler"] += f" {STALE}" if c.cell.key in behind else ""
    return Table.of(lines, [c.cell.key if c.cell.key in rows else None for c in found], stale_notes(behind.values()))


def _line(c: Comparison) -> dict[str, str]:
    metric, published = metric_named(c.published.metric), c.published
    form, label = metric.paper_form, _labels(published.protocol.extractor.name)[published.metric]
    difference = "" if c.difference is None else f"{c.difference:+{form}}"
    if c.bounds is not None:
        difference += f" [{c.bounds[0]:+{form}}, {c.bounds[1]:+{form}}]"
    return {
        "sampler": c.cell.label,
        "spacing": str(c.cell.sampling.spacing),
        "steps": str(c.cell.sampling.steps),
        "metric": f"{label}, {metric.unit}" if metric.unit else label,
        "paper": f"{published.value:.10g}" + (f" ± {published.error:.10g}" if published.error is not None else ""),
        "measured": (NOT_RUN if c.record is None else "not measured" if c.measured is None else f"{c.measured:{form}}"),
        "difference [our 95 %]": difference,
        "inside": c.inside,
        "protocols agree": c.agree,
        "differs in": c.all_differences,
        "source": published.citation,
    }


@cache
def _labels(extractor: str) -> Mapping[str, str]:
    """What metrics are called with the paper's own extractor."""
    return EXTRACTORS.build(extractor).labels


def published_csv(found: Sequence[Comparison]) -> str:
    """One line per comparison, for a program: numbers in full."""
    return csv_text([_record(comparison) for comparison in found])


def _record(c: Comparison) -> Record:
    published, (low, high) = c.published, c.bounds or (None, None)
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
        "difference_low": low,
        "difference_high": high,
        "inside": c.inside,
        "protocol": c.cell.protocol.title,
        "published_protocol": published.protocol.title,
        "protocols_agree": c.agree,
        "differs": "; ".join(c.differs),
        "not_stated": ", ".join(c.unknown),
        "recipe_differs": "; ".join(c.recipe),
    }
