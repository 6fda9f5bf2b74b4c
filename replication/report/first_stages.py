"""The table of first stages: what is lost between an image and its reconstruction, beside the paper's rFID."""

from collections.abc import Mapping, Sequence

from replication.harness.jobs.first_stage import FirstStageCell
from replication.harness.journal import Record
from replication.registry import EXTRACTORS
from replication.report.tables import NOT_RUN, Table, interval, number, plus_minus

HEADING = "First stages"


def first_stage_table(cells: Sequence[FirstStageCell], rows: Mapping[str, Record]) -> Table:
    """One line for each first stage; columns that no line fills are left out."""
    distance = f"r{cells[0].protocol.extractor.build(EXTRACTORS).labels['fd']}"
    lines = [_line(cell, rows.get(cell.key, {}), distance) for cell in cells]
    columns = [column for column in lines[0] if column == distance or any(line[column] for line in lines)]
    return columns, [[line[column] for column in columns] for line in lines]


def _line(cell: FirstStageCell, run: Record, distance: str) -> dict[str, str]:
    image = cell.build_dataset()
    channels, height, width = cell.first_stage.latent_shape((image.channels, image.resolution, image.resolution))
    printed = cell.published[:1]
    return {
        "first stage": cell.label,
        "latent": f"{height}x{width}x{channels}",
        "parameters": number(run, "first_stage.parameters", "{:,.0f}"),
        distance: interval(run, "metric.fd", "{:.3g}") or NOT_RUN,
        "PSNR, dB": plus_minus(run, "metric.psnr", "{:.2f}"),
        "SSIM": plus_minus(run, "metric.ssim", "{:.4f}"),
        "codes used": number(run, "metric.codebook_usage", "{:.1%}"),
        "perplexity": number(run, "metric.codebook_perplexity", "{:.1f}"),
        "scale": number(run, "first_stage.scale", "{:.4g}"),
        "ms/image": number(run, "timing.seconds_per_image", "{:.3g}", 1000),
        "paper's rFID": "; ".join(f"{value.value:g}" for value in printed),
        "dataset of the paper's": "; ".join(value.dataset for value in printed),
        "source": "; ".join(value.citation for value in printed),
    }
