"""The files of a report, from rows alone: results/<experiment>-<profile>.csv, .md, .tex, .png and -samples.png.

Where papers have values for the cells, -published.csv has them beside the measured ones; where there are first stages,
-first-stages.csv and -reconstructions.png; where rows differ in the guidance weight, -guidance.png.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from replication.files import write_atomically
from replication.harness.journal import Journal, Record
from replication.harness.sweep import FIRST_STAGES, first_stage_journal
from replication.report import first_stages
from replication.report.beside_papers import HEADING, comparisons, published_csv, published_table
from replication.report.claims import Evidence, markdown_claim, markdown_claims
from replication.report.comparable import MARK
from replication.report.guidance import guidance_plot
from replication.report.latex import latex_document, latex_table
from replication.report.plots import distance_plot, picture_grid, sample_grid
from replication.report.rows import write_csv
from replication.report.tables import MARK_MEANS, Table, markdown, measured_tables

PICTURES = {  # by the end of the file's name: a heading, and what is to be seen
    "guidance": ("Guidance", "class accuracy, distance, precision and recall against the guidance weight"),
    "samples": ("Samples", "samples, one line per row of the table"),
    "reconstructions": ("Reconstructions", "test images, and below them what each first stage makes of them"),
}
SHOWN = 12  # values of a column of the protocol or the provenance


def write_report(evidence: Evidence, journal: Journal, folder: Path) -> list[Path]:
    """Write what the rows allow, and return the files. Pictures need strips, which only the journals have."""
    experiment, profile, cells, rows = evidence.experiment, evidence.profile, evidence.cells, evidence.rows
    stem = f"{experiment.name}-{profile}"
    folder.mkdir(parents=True, exist_ok=True)
    found = comparisons(cells, rows)
    tables = measured_tables(cells, rows) | ({HEADING: published_table(found)} if found else {})
    if evidence.first_stages:
        tables[first_stages.HEADING] = first_stages.first_stage_table(evidence.first_stages, evidence.first_stage_rows)
    written = [folder / f"{stem}.md"]
    if rows:
        written += [folder / f"{stem}.csv", folder / f"{stem}.tex", folder / f"{stem}.png"]
        write_csv(rows, folder / f"{stem}.csv")
        write_atomically(folder / f"{stem}.tex", latex_report(experiment.title, stem, tables).encode())
        write_atomically(folder / f"{stem}.png", distance_plot(cells, rows, experiment.title))
    if rows and found:
        written.append(folder / f"{stem}-published.csv")
        write_atomically(written[-1], published_csv(found).encode())
    if rows and (curves := guidance_plot(cells, rows, experiment.title)):
        written.append(folder / f"{stem}-guidance.png")
        write_atomically(written[-1], curves)
    strips = {key: path for key in rows if (path := journal.strip_path(key)).exists()}
    if strips:
        written.append(folder / f"{stem}-samples.png")
        write_atomically(written[-1], sample_grid(cells, strips))
    written += _write_first_stages(evidence, folder / stem, first_stage_journal(journal))
    pictures = {kind: (folder / f"{stem}-{kind}.png").exists() for kind in PICTURES}
    text = markdown_report(evidence, tables, [kind for kind, there in pictures.items() if there])
    write_atomically(written[0], text.encode())
    return written


def _write_first_stages(evidence: Evidence, stem: Path, journal: Journal) -> list[Path]:
    """Rows and reconstructions of the first stages, where there are any."""
    if not (rows := evidence.first_stage_rows):
        return []
    written = [stem.with_name(f"{stem.name}{FIRST_STAGES}.csv")]
    write_csv(rows, written[0])
    strips = {key: path for key in rows if (path := journal.strip_path(key)).exists()}
    if strips:
        lines = [
            (f"{cell.label}\noriginals, above", Image.open(strips[cell.key]))
            for cell in evidence.first_stages
            if cell.key in strips
        ]
        written.append(stem.with_name(f"{stem.name}-reconstructions.png"))
        write_atomically(written[-1], picture_grid(lines, rows=2))
    return written


def write_claims(evidence: Sequence[Evidence], folder: Path) -> Path:
    """Write claims.md, the whole list, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "claims.md", markdown_claims(evidence).encode())
    return folder / "claims.md"


def markdown_report(evidence: Evidence, tables: Mapping[str, Table], pictures: Sequence[str]) -> str:
    """The whole page: table, plot, grid, verdicts, further tables by heading, protocol and provenance."""
    experiment, rows = evidence.experiment, evidence.rows
    stem = f"{experiment.name}-{evidence.profile}"
    parts = [f"# {experiment.title} ({evidence.profile})", markdown(*tables[""])]
    if any(f" {MARK} " in f" {line[0]} " for line in tables[""][1]):
        parts.append(MARK_MEANS)
    if rows:
        parts.append(f"![distance against evaluations and time]({stem}.png)")
    parts += [f"![{PICTURES[kind][1]}]({stem}-{kind}.png)" for kind in pictures]
    parts += [markdown_claim(claim, evidence) for claim in evidence.claims]
    for heading, table in tables.items():
        parts += [f"## {heading}", markdown(*table)] if heading else []
    if rows:
        parts += [
            "## Protocol",
            markdown(["column", "value"], shared_columns(rows, ("protocol.", "recipe."))),
            "## Provenance",
            markdown(["column", "value"], shared_columns(rows, ("env.", "checkpoint."))),
        ]
    return "\n\n".join(parts) + "\n"


def latex_report(title: str, stem: str, tables: Mapping[str, Table]) -> str:
    """The page's tables of figures in LaTeX; a second one says in its caption what it is."""
    return latex_document(
        [
            latex_table(*table, ": ".join(filter(None, (title, heading))), f"{stem}-{i}" if i else stem)
            for i, (heading, table) in enumerate(tables.items())
        ]
    )


def shared_columns(rows: Mapping[str, Record], prefixes: tuple[str, ...]) -> list[list[str]]:
    """Each column once, with the values that the rows have in it, or the first few and how many there are."""
    columns = dict.fromkeys(c for record in rows.values() for c in record if c.startswith(prefixes))
    lines = []
    for column in columns:
        values = dict.fromkeys(str(record[column]) for record in rows.values() if column in record)
        shown = list(values)[:SHOWN]
        more = [f"... ({len(values)} values)"] if len(values) > SHOWN else []
        lines.append([column, "; ".join(shown + more)])
    return lines
