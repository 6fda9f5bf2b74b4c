"""The files of a report: results/<experiment>-<profile>.csv, .md, .png and -samples.png, from rows alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from replication.files import write_atomically
from replication.harness.cell import Cell
from replication.harness.experiment import Experiment
from replication.harness.journal import Journal, Record
from replication.report.claims import Evidence, markdown_claim
from replication.report.plots import distance_plot, sample_grid
from replication.report.rows import write_csv
from replication.report.tables import markdown, markdown_table


def write_report(
    experiment: Experiment,
    profile: str,
    cells: Sequence[Cell],
    rows: Mapping[str, Record],
    journal: Journal,
    folder: Path,
) -> list[Path]:
    """Write what the rows allow, and return the files. The sample grid needs strips, which only the journal has."""
    stem = f"{experiment.name}-{profile}"
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{stem}.md"]
    if rows:
        written += [folder / f"{stem}.csv", folder / f"{stem}.png"]
        write_csv(rows, folder / f"{stem}.csv")
        write_atomically(folder / f"{stem}.png", distance_plot(cells, rows, experiment.title))
    strips = {key: path for key in rows if (path := journal.strip_path(key)).exists()}
    if strips:
        written.append(folder / f"{stem}-samples.png")
        write_atomically(written[-1], sample_grid(cells, strips))
    text = markdown_report(experiment, profile, cells, rows, has_grid=(folder / f"{stem}-samples.png").exists())
    write_atomically(written[0], text.encode())
    return written


def markdown_report(
    experiment: Experiment, profile: str, cells: Sequence[Cell], rows: Mapping[str, Record], has_grid: bool
) -> str:
    """The whole page: table, plot, grid, verdicts, protocol and provenance."""
    stem = f"{experiment.name}-{profile}"
    parts = [f"# {experiment.title} ({profile})", markdown_table(cells, rows)]
    if rows:
        parts.append(f"![distance against evaluations and time]({stem}.png)")
    if has_grid:
        parts.append(f"![samples, one line per row of the table]({stem}-samples.png)")
    parts += [markdown_claim(claim, Evidence(experiment, profile, cells, rows)) for claim in experiment.claims]
    if rows:
        parts += [
            "## Protocol",
            _shared(rows, ("protocol.", "recipe.")),
            "## Provenance",
            _shared(rows, ("env.", "checkpoint.")),
        ]
    return "\n\n".join(parts) + "\n"


def _shared(rows: Mapping[str, Record], prefixes: tuple[str, ...]) -> str:
    """Each column once, with all the values that the rows have in it."""
    columns = dict.fromkeys(c for record in rows.values() for c in record if c.startswith(prefixes))
    lines = []
    for column in columns:
        values = dict.fromkeys(str(record[column]) for record in rows.values() if column in record)
        lines.append([column, "; ".join(values)])
    return markdown(["column", "value"], lines)
