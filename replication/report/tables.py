"""The tables of a profile: one line per cell, an interval on every figure. Papers' values are in beside_papers.py."""

from collections.abc import Callable, Mapping, Sequence

from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.registry import EXTRACTORS
from replication.report.comparable import MARK

NOT_RUN = "not run"
MARK_MEANS = f"{MARK} measured with another n or another reference than the first line: not to be compared with it."
Table = tuple[list[str], list[list[str]]]  # (columns, lines)
Labels = Mapping[str, str]


def measured_tables(cells: Sequence[Cell], rows: Mapping[str, Record]) -> dict[str, Table]:
    """The tables of a profile by heading, the main one first and without; the others hold the cells that fill them."""
    labels = cells[0].protocol.extractor.build(EXTRACTORS).labels
    tables = {"": _table(_main, cells, rows, labels)}
    for heading, (line, needed) in FURTHER.items():
        if shown := cells_with(needed, cells, rows):
            tables[heading] = _table(line, shown, rows, labels)
    return tables


def _measured_as(cell: Cell) -> tuple[object, ...]:
    protocol = cell.protocol
    return str(cell.recipe.dataset), protocol.n, protocol.reference, protocol.drop_last


def cells_with(column: str, cells: Sequence[Cell], rows: Mapping[str, Record]) -> list[Cell]:
    """The cells whose rows have this column."""
    return [cell for cell in cells if column in rows.get(cell.key, {})]


def _table(
    line: Callable[[Cell, Record, Labels], dict[str, str]],
    cells: Sequence[Cell],
    rows: Mapping[str, Record],
    labels: Labels,
) -> Table:
    """Lines without a figure say "not run" where they stay at all, and columns that no line fills are left out."""
    lines = [line(cell, rows.get(cell.key, {}), labels) for cell in cells]
    for cell, of in zip(cells, lines, strict=True):
        if _measured_as(cell) != _measured_as(cells[0]):  # its figures are not comparable with the table's
            of["sampler"] += f" {MARK}"
    columns = [c for c in lines[0] if any(of[c] not in ("", NOT_RUN) for of in lines) or c == labels["fd"]]
    return columns, [[of[c] for c in columns] for of in lines]


def markdown(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned in the source too, for reading in a terminal."""
    widths = [max(len(str(line[i])) for line in [columns, *lines]) for i in range(len(columns))]
    text = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in [columns, *lines]
    ]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in [text[0], rule, *text[1:]])


def _named(cell: Cell, run: Record) -> dict[str, str]:
    return {
        "sampler": cell.label,
        "spacing": str(cell.sampling.spacing),
        "steps": str(cell.sampling.steps),
        "NFE": str(run.get("sampling.nfe", "")),
    }


def _main(cell: Cell, run: Record, labels: Labels) -> dict[str, str]:
    return {
        **_named(cell, run),
        labels["fd"]: interval(run, "metric.fd", "{:.3g}") or NOT_RUN,
        labels["fd_infinity"]: interval(run, "metric.fd_infinity", "{:.3g}"),
        f"{labels['kid']} x 1000": interval(run, "metric.kid", "{:.2f}", 1000),
        labels["is"]: interval(run, "metric.is", "{:.2f}"),
        "class accuracy": interval(run, "metric.class_accuracy", "{:.3f}"),
        "NLL, bits/dim": plus_minus(run, "metric.nll", "{:.3f}"),
        "ms/image": number(run, "timing.seconds_per_image", "{:.3g}", 1000),
        "images/s": number(run, "timing.images_per_second", "{:.3g}"),
        "floor, ms/image": number(run, "timing.floor_seconds", "{:.3g}", 1000),
        "decoded, ms/image": number(run, "timing.image_seconds", "{:.3g}", 1000) if cell.recipe.first_stage else "",
    }


def _variety(cell: Cell, run: Record, labels: Labels) -> dict[str, str]:
    shares = ("precision", "recall", "density", "coverage", "memorisation", "memorisation_auc")
    return {
        **_named(cell, run),
        labels["sfd"]: interval(run, "metric.sfd", "{:.3g}"),
        **{labels[key]: interval(run, f"metric.{key}", "{:.3f}") for key in shares},
    }


def _blocks(cell: Cell, run: Record, labels: Labels) -> dict[str, str]:
    """What one block of n images says, how far the blocks lie apart, and the smallest, which papers print."""
    return {
        **_named(cell, run),
        "blocks": str(len(str(run["protocol.seeds"]).split())),
        f"{labels['fd']}, mean": number(run, "metric.fd", "{:.3g}"),
        "standard deviation": number(run, "metric.fd_std", "{:.2g}"),
        "smallest": number(run, "metric.fd_min", "{:.3g}"),
        "largest": number(run, "metric.fd_max", "{:.3g}"),
    }


def _cost(cell: Cell, run: Record, labels: Labels) -> dict[str, str]:
    """In what papers call Gflops: multiply-adds, of one forward pass, of the whole training and of one image."""
    return {
        **_named(cell, run),
        labels["fd"]: interval(run, "metric.fd", "{:.3g}"),
        "parameters": number(run, "cost.parameters", "{:,.0f}"),
        "multiply-adds, M": number(run, "cost.multiply_adds", "{:,.2f}", 1e-6),
        "activations, MB": number(run, "cost.activation_bytes", "{:,.2f}", 1e-6),
        "training, T": number(run, "cost.training_multiply_adds", "{:,.3f}", 1e-12),
        "image, G": number(run, "cost.image_multiply_adds", "{:,.2f}", 1e-9),
    }


# The tables besides the main one: what their lines hold, and the column that a row must have to be in them.
FURTHER: dict[str, tuple[Callable[[Cell, Record, Labels], dict[str, str]], str]] = {
    "Fidelity, variety and memory": (_variety, "metric.precision"),
    "Cost": (_cost, "cost.multiply_adds"),
    "Seed blocks": (_blocks, "metric.fd_std"),
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
