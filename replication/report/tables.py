"""The table of a profile: one line per cell, an interval on every distance. Papers' values are in published.py."""

from collections.abc import Mapping, Sequence

from replication.harness.cell import Cell
from replication.harness.journal import Record
from replication.registry import EXTRACTORS

NOT_RUN = "not run"
Table = tuple[list[str], list[list[str]]]  # (columns, lines)


def markdown_table(cells: Sequence[Cell], rows: Mapping[str, Record]) -> str:
    """The table in Markdown."""
    return markdown(*measured_table(cells, rows))


def measured_table(cells: Sequence[Cell], rows: Mapping[str, Record]) -> Table:
    """Cells without a row say "not run", and columns that no cell fills are left out."""
    labels = cells[0].protocol.extractor.build(EXTRACTORS).labels
    lines = [_line(cell, rows.get(cell.key), labels) for cell in cells]
    columns = [c for c in lines[0] if any(line[c] not in ("", NOT_RUN) for line in lines) or c == labels["fd"]]
    return columns, [[line[c] for c in columns] for line in lines]


def markdown(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned in the source too, for reading in a terminal."""
    widths = [max(len(str(line[i])) for line in [columns, *lines]) for i in range(len(columns))]
    text = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in [columns, *lines]
    ]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in [text[0], rule, *text[1:]])


def _line(cell: Cell, record: Record | None, labels: Mapping[str, str]) -> dict[str, str]:
    run = record or {}
    return {
        "sampler": cell.label,
        "spacing": str(cell.sampling.spacing),
        "steps": str(cell.sampling.steps),
        "NFE": str(run.get("sampling.nfe", "")),
        labels["fd"]: interval(run, "metric.fd", "{:.3g}") or NOT_RUN,
        f"{labels['kid']} x 1000": interval(run, "metric.kid", "{:.2f}", 1000),
        labels["is"]: interval(run, "metric.is", "{:.2f}"),
        "precision": number(run, "metric.precision", "{:.3f}"),
        "recall": number(run, "metric.recall", "{:.3f}"),
        "NLL, bits/dim": plus_minus(run, "metric.nll", "{:.3f}"),
        "ms/image": number(run, "timing.seconds_per_image", "{:.3g}", 1000),
        "images/s": number(run, "timing.images_per_second", "{:.3g}"),
        "floor, ms/image": number(run, "timing.floor_seconds", "{:.3g}", 1000),
    }


def number(record: Mapping[str, object], column: str, form: str, scale: float = 1.0) -> str:
    """The formatted number, empty where the row has none."""
    value = record.get(column)
    return form.format(value * scale) if isinstance(value, int | float) else ""


def interval(record: Mapping[str, object], column: str, form: str, scale: float = 1.0) -> str:
    """value [low, high], the 95 % interval; empty where the row has none."""
    parts = [number(record, column + suffix, form, scale) for suffix in ("", "_low", "_high")]
    return f"{parts[0]} [{parts[1]}, {parts[2]}]" if parts[0] else ""


def plus_minus(record: Mapping[str, object], column: str, form: str) -> str:
    """value ± 1.96 standard errors; empty where the row has none."""
    value, error = number(record, column, form), number(record, f"{column}_se", form, 1.96)
    return f"{value} ± {error}" if value else ""
